"""When a job is looked at again: each has one moment, the earliest that was asked for, and a settled one has none."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from klipfake.objects import NOW, UID, job
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.store import Store


@pytest.fixture
async def reconciler() -> AsyncIterator[Reconciler]:
    """One that only keeps time."""
    made = Reconciler(None, Store(lambda _: None, lambda _: None, lambda: None), SimpleNamespace(), None)  # type: ignore[arg-type]
    keeping = asyncio.create_task(made._keep_time())
    yield made
    keeping.cancel()


async def looked_at(reconciler: Reconciler) -> list[str]:
    """What is to be looked at until nothing is due any more."""
    found: list[str] = []
    while reconciler._due or reconciler.queue_length:
        async with asyncio.timeout(5), reconciler._work_queue.next() as uid:
            found.append(uid)
    return found


async def test_a_job_that_is_asked_for_many_times_is_looked_at_once(reconciler: Reconciler) -> None:
    for seconds in (0.03, 0.01, 0.02, 0.01, 0.04):
        reconciler.enqueue_after("film", seconds)
    assert await looked_at(reconciler) == ["film"]
    await asyncio.sleep(0.05)
    assert not reconciler.queue_length, "the others are void"


async def test_the_earliest_moment_counts_and_a_later_one_can_follow_it(reconciler: Reconciler) -> None:
    reconciler.enqueue_after("film", 60)
    reconciler.enqueue_after("film", 0.01)
    reconciler.enqueue_after("clip", 0.0)
    assert await looked_at(reconciler) == ["clip", "film"]
    reconciler.enqueue_after("film", 0.01)
    assert await looked_at(reconciler) == ["film"]


async def test_a_settled_job_is_not_looked_at_and_one_that_is_gone_is(reconciler: Reconciler) -> None:
    """Of the latter a slot may be left, which only a live read frees."""
    reconciler.store.put_job(job({"phase": "Succeeded", "attempt": 1}), NOW)
    reconciler.enqueue(UID)
    reconciler.enqueue("gone")
    assert await looked_at(reconciler) == ["gone"]
