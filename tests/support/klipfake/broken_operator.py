"""The operator with a planted fault, soon after it leads: `python -m klipfake.broken_operator`.

KLIPFAKE_FAULT is `blocked loop`, `renewal stuck`, `ending stuck`, `progress returns`, or `cancelled: NAME` for a
background task.
"""

import asyncio
import os
import sys
import time
from typing import Any

from klipstream_kube import LeaseElector
from klipstream_operator import health
from klipstream_operator.__main__ import main
from klipstream_operator.progress import ProgressBook
from klipstream_operator.runtime import Runtime

AFTER_SECONDS = 2.0


async def _never(*_: Any) -> None:
    await asyncio.Event().wait()


async def _ends(*_: Any) -> None:
    await asyncio.sleep(AFTER_SECONDS)


def plant(fault: str) -> None:
    """Change the operator's code in this process."""
    kind, _, name = fault.partition(": ")
    work = Runtime.work

    async def break_down(runtime: Runtime) -> None:
        while not runtime.leading:
            await asyncio.sleep(0.1)
        await asyncio.sleep(AFTER_SECONDS)
        if kind == "blocked loop":
            time.sleep(3600)
        if kind == "cancelled":
            (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
            task.cancel()

    async def faulty(self: Runtime) -> None:
        breaking = asyncio.create_task(break_down(self))
        try:
            await work(self)
        finally:
            breaking.cancel()

    Runtime.work = faulty  # type: ignore[method-assign]
    health.RENEWAL_GRACE_SECONDS = 1.0
    if kind == "renewal stuck":
        LeaseElector.hold = _never  # type: ignore[method-assign,assignment]
    if kind == "progress returns":
        ProgressBook.run = _ends  # type: ignore[method-assign,assignment]
    if kind == "ending stuck":
        health.ENDING_SECONDS = 2.0
        ProgressBook.finish = _never  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    plant(os.environ["KLIPFAKE_FAULT"])
    sys.exit(main())
