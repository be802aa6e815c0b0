"""Admission: starts and wakes the writer of each AnalysisQueue."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from klipstream_operator.queue_writer import QueueWriter
from klipstream_operator.store import QueueKey, Store


@dataclass(slots=True)
class Admission:
    """The writers of all queues."""

    store: Store
    writer_of: Callable[[QueueKey], QueueWriter]
    _writers: dict[QueueKey, QueueWriter] = field(default_factory=dict)
    _start: Callable[[QueueWriter], object] | None = None

    def enqueue(self, key: QueueKey) -> None:
        """Look at a queue soon; a new one gets its writer."""
        writer = self._writers.get(key)
        if writer is None:
            if self._start is None or key not in self.store.queues:
                return
            writer = self._writers[key] = self.writer_of(key)
            self._start(writer)
        writer.dirty.set()

    async def run(self) -> None:
        """Never returns; a writer that fails takes all with it."""
        async with asyncio.TaskGroup() as tasks:

            async def serve(writer: QueueWriter) -> None:
                await writer.run()
                if self._writers.get(writer.key) is writer:
                    del self._writers[writer.key]

            self._start = lambda writer: tasks.create_task(serve(writer))
            for key in list(self.store.queues):
                self.enqueue(key)
            await asyncio.Event().wait()
