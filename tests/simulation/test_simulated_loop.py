"""The event loop of the simulation: time that jumps, processes that freeze and die."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

from klipsim.loop import PROCESS, Process, SimulatedLoop, Stuck


def started(loop: SimulatedLoop, life: Coroutine[Any, Any, None], process: Process | None = None) -> asyncio.Task[None]:
    context = contextvars.Context()
    context.run(PROCESS.set, process)
    return loop.create_task(life, context=context)


def test_time_jumps_to_what_happens_next() -> None:
    loop, seen = SimulatedLoop(), []

    async def sleep() -> None:
        for seconds in (0.5, 3600.0):
            await asyncio.sleep(seconds)
            seen.append(loop.time())

    task = started(loop, sleep())
    loop.run_until(task.done)
    assert seen == [0.5, 3600.5]


def test_timeouts_and_groups_of_tasks_work_as_on_a_real_loop() -> None:
    loop, ended = SimulatedLoop(), []

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.Event().wait()
        with pytest.raises(ExceptionGroup):
            await both()
        ended.append(loop.time())

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(100))
            tasks.create_task(fail())

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError

    task = started(loop, run())
    loop.run_until(task.done)
    task.result()
    assert ended == [3.0]


def test_a_frozen_process_finds_that_time_went_on() -> None:
    loop, seen, process = SimulatedLoop(), [], Process("p")

    async def tick() -> None:
        while len(seen) < 3:
            await asyncio.sleep(1)
            seen.append(loop.time())

    task = started(loop, tick(), process)
    loop.call_later(1.5, process.freeze)
    loop.call_later(10.0, process.thaw, loop)
    loop.run_until(task.done)
    assert seen == [1.0, 10.0, 11.0]


def test_a_killed_process_runs_no_further_line() -> None:
    loop, seen, process = SimulatedLoop(), [], Process("p")

    async def tick() -> None:
        try:
            await asyncio.sleep(5)
            seen.append("slept")
        finally:
            seen.append("cleaned up")

    task = started(loop, tick(), process)
    loop.call_later(1.0, process.kill)
    loop.call_later(9.0, lambda: None)
    loop.run_until(lambda: loop.time() >= 9.0)
    assert seen == []
    assert not task.done()
    loop.call_exception_handler({})  # nothing was raised on the way
    assert loop.errors == [{}]


def test_a_world_in_which_nothing_can_happen_is_no_success() -> None:
    with pytest.raises(Stuck):
        SimulatedLoop().run_until(lambda: False)
