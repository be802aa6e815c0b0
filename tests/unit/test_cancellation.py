"""A leader that loses its Lease ends every one of its tasks, whatever they were just woken for.

asyncio.wait_for of Python 3.11 returns what it waited for instead of the cancellation when both come together. A task
that goes on then keeps a leader, which leads no more, from ending for ever.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from klipstream_operator.purger import Purger
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.store import Store
from klipstream_operator.sweep import Sweep

AHEAD = datetime(2999, 1, 1, tzinfo=UTC)


def clock() -> Any:
    return SimpleNamespace(now=lambda: AHEAD - timedelta(days=1))


async def reconciler() -> tuple[Any, Any]:
    part = Reconciler(None, Store(lambda _: None, lambda _: None, lambda: None), clock(), None)  # type: ignore[arg-type]
    part.enqueue_after("first", 60)
    return part, lambda: part.enqueue_after("uid", 30)


async def sweep() -> tuple[Any, Any]:
    part = Sweep(None, clock(), (), 60, lambda *_: 0, lambda *_: None)  # type: ignore[arg-type]
    return part, part._wake.set


async def purger() -> tuple[Any, Any]:
    part = Purger(None, Store(lambda _: None, lambda _: None, lambda: None), clock(), None, False)  # type: ignore[arg-type]
    return part, lambda: part._schedule("uid", AHEAD)


@pytest.mark.parametrize("made", [reconciler, sweep, purger])
@pytest.mark.parametrize("turns", range(5))
async def test_a_task_that_was_just_woken_can_be_cancelled(made: Any, turns: int) -> None:
    part, wake = await made()
    task = asyncio.create_task(part.run())
    await asyncio.sleep(0.01)
    wake()
    for _ in range(turns):  # of the event loop, between the wake and the cancellation
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=1)
    assert done, "it goes on"
    assert task.cancelled()
