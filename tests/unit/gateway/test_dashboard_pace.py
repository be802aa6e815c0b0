"""How often live parts are made."""

import asyncio
import time

import pytest

from klipstream_gateway.dashboard.pace import LONGEST_PAUSE_SECONDS, Busy, pause_seconds


@pytest.mark.parametrize(
    ("busy_seconds", "viewers", "expected"),
    [(0.001, 1, 1.0), (0.01, 50, 2.0), (0.01, 100, 4.0), (0.01, 2000, 10.0), (6.0, 50, 10.0)],
)
def test_viewers_share_the_processor_and_none_waits_for_long(busy_seconds, viewers, expected):
    assert pause_seconds(busy_seconds, viewers) == pytest.approx(expected)
    assert LONGEST_PAUSE_SECONDS + 5 < 20, "a page calls itself not live after twenty seconds of silence"


async def test_what_work_waits_for_is_not_counted_and_what_it_does_is():
    def busy_for(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    async def work(answered: asyncio.Event) -> str:
        await answered.wait()
        busy_for(0.05)
        return "done"

    answered = asyncio.Event()
    part = Busy(work(answered))
    waiting = asyncio.ensure_future(part)
    for _ in range(3):
        await asyncio.sleep(0)
        busy_for(0.1)  # others' work
    answered.set()
    assert await waiting == "done"
    assert 0.04 < part.seconds < 0.2


async def test_errors_and_cancellation_go_through_to_the_work_and_back():
    seen = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Busy(work())
    assert seen == ["cancelled"]

    async def broken() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Busy(broken())
