"""Acceptances and reservations do not overtake each other."""

import asyncio

import pytest

from klipstream_operator.turnstile import Turnstile
from klipstream_queueing.order import Rank

KEY = ("n", "q")
URGENT, NORMAL, LOW = Rank(-4, 30, "urgent"), Rank(-2, 20, "normal"), Rank(-1, 10, "low")


async def test_a_job_is_not_reserved_past_one_that_is_on_its_way() -> None:
    turnstile = Turnstile()
    async with turnstile.arriving(KEY, NORMAL):
        assert turnstile.allowed(KEY, [URGENT, LOW]) == [URGENT]
        assert turnstile.allowed(("n", "other"), [LOW]) == [LOW]
    assert turnstile.allowed(KEY, [URGENT, LOW]) == [URGENT, LOW]


async def test_a_job_that_comes_first_waits_for_a_reservation_under_way() -> None:
    turnstile, order = Turnstile(), list[str]()

    async def arrive(rank: Rank) -> None:
        async with turnstile.arriving(KEY, rank):
            order.append(rank.uid)

    with turnstile.reserving(KEY, [NORMAL]):
        arrivals = [asyncio.create_task(arrive(rank)) for rank in (URGENT, LOW)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == ["low"]
        order.append("reserved")
    await asyncio.gather(*arrivals)
    assert order == ["low", "reserved", "urgent"]


async def test_who_waits_for_a_reservation_waits_for_no_other() -> None:
    """A queue's writer may have one after the other written, without a pause."""
    turnstile = Turnstile()

    async def arrive() -> None:
        async with turnstile.arriving(KEY, URGENT):
            raise AssertionError("the reservation is still being written")

    with turnstile.reserving(KEY, [NORMAL]):
        arriving = asyncio.create_task(arrive())
        await asyncio.sleep(0)
        assert turnstile.allowed(KEY, [NORMAL]) == []
        arriving.cancel()
        await asyncio.gather(arriving, return_exceptions=True)
        assert turnstile.allowed(KEY, [NORMAL]) == [NORMAL], "it does not come any more"


async def test_a_failed_write_leaves_no_trace() -> None:
    turnstile = Turnstile()
    with pytest.raises(RuntimeError), turnstile.reserving(KEY, [LOW]):
        raise RuntimeError
    async with asyncio.timeout(1), turnstile.arriving(KEY, URGENT):
        pass


async def test_a_job_may_be_on_its_way_twice() -> None:
    """Found by simulation: the answer to its acceptance was late, and its first attempt was lost meanwhile."""
    turnstile = Turnstile()
    async with turnstile.arriving(KEY, NORMAL):
        async with turnstile.arriving(KEY, NORMAL):
            pass
        assert turnstile.allowed(KEY, [LOW]) == []
    assert turnstile.allowed(KEY, [LOW]) == [LOW]


async def test_nobody_passes_a_write_that_was_cancelled() -> None:
    """Found by simulation: it may come in later, and an ending leader cancelled a queue's writer before acceptance."""
    turnstile = Turnstile()
    with pytest.raises(asyncio.CancelledError), turnstile.reserving(KEY, [NORMAL]):
        raise asyncio.CancelledError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), turnstile.arriving(KEY, URGENT):
            pass
    with pytest.raises(asyncio.CancelledError):
        async with turnstile.arriving(KEY, LOW):
            raise asyncio.CancelledError
    assert turnstile.allowed(KEY, [NORMAL, Rank(-1, 11, "later")]) == [NORMAL]
