"""Parts that are asked for while another is looked at."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from klipstream_kube.ahead import read_ahead


class Source:
    """Numbers, and what became of those who asked for them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.asked: list[int] = []
        self.closed = False

    async def numbers(self, count: int) -> AsyncGenerator[int]:
        try:
            for number in range(count):
                self.asked.append(number)
                await asyncio.sleep(0)
                if number == self.fails_at:
                    raise ValueError(number)
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("count", [0, 1, 4])
async def test_everything_comes_once_and_in_order(count: int) -> None:
    source = Source()
    assert [number async for number in read_ahead(source.numbers(count))] == list(range(count))
    assert source.closed


async def test_the_next_one_is_on_its_way_while_one_is_looked_at() -> None:
    source = Source()
    async for number in read_ahead(source.numbers(4)):
        await asyncio.sleep(0.01)
        assert source.asked == list(range(min(number + 2, 4))), "one ahead, and no more"


async def test_an_error_comes_after_what_came_before_it() -> None:
    source, seen = Source(fails_at=2), []

    async def take() -> None:
        async for number in read_ahead(source.numbers(4)):
            seen.append(number)

    with pytest.raises(ValueError, match="2"):
        await take()
    assert seen == [0, 1]
    assert source.closed


@pytest.mark.parametrize("fails_at", [None, 1])
async def test_who_stops_early_leaves_nothing_behind(fails_at: int | None, recwarn: pytest.WarningsRecorder) -> None:
    source = Source(fails_at)
    async with aclosing(read_ahead(source.numbers(4))) as ahead:
        async for _ in ahead:
            await asyncio.sleep(0.01)
            break
    assert source.closed
    assert len(asyncio.all_tasks()) == 1
    assert not recwarn.list


async def test_it_can_be_cancelled_while_it_waits() -> None:
    async def never() -> AsyncGenerator[int]:
        await asyncio.Event().wait()
        yield 1

    async def take() -> None:
        async for _ in read_ahead(never()):
            pass

    task = asyncio.create_task(take())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
