"""Background tasks that go on as long as the process does."""

import asyncio
from collections.abc import Iterable


class TaskEnded(Exception):
    """A background task that never ends did, without saying why."""


async def none_ends(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Watch tasks of a TaskGroup that never return. Raises TaskEnded when one does, or was cancelled on its own."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    silent = [task.get_name() for task in done if task.cancelled() or task.exception() is None]
    if silent:
        raise TaskEnded(f"the background task {', '.join(silent)} ended")
