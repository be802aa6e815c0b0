"""What becomes of a process whose background task ends."""

import asyncio

import pytest

from klipstream_service.tasks import TaskEnded, none_ends


async def ends() -> None:
    pass


async def fails() -> None:
    raise ValueError("broken")


async def cancelled() -> None:
    raise asyncio.CancelledError


async def run_beside(first, name: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(asyncio.Event().wait(), name="other"), tasks.create_task(first(), name=name)]
        tasks.create_task(none_ends(others))


@pytest.mark.parametrize("how", [ends, cancelled])
async def test_a_task_that_ends_without_an_error_ends_all_and_is_named(how) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(30):
            await run_beside(how, "feed")
    (error,) = raised.value.exceptions
    assert isinstance(error, TaskEnded)
    assert "feed" in str(error)


async def test_an_error_is_its_own_message() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await run_beside(fails, "feed")
    assert [type(each) for each in raised.value.exceptions] == [ValueError]
