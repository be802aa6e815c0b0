"""What is to be looked at, keyed, for several workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class WorkQueue:
    """Keys in order of their coming; each is with one worker at a time, and waits once however often it was added.

    A key that is added while a worker has it comes up again afterwards, so that no change is looked at too early.
    """

    _waiting: dict[str, None] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: str) -> None:
        """Have a key looked at soon."""
        self._waiting[key] = None
        self._some.set()

    @asynccontextmanager
    async def next(self) -> AsyncIterator[str]:
        """The next key, once there is one; nobody else gets it until the block is left."""
        while (key := next((key for key in self._waiting if key not in self._busy), None)) is None:
            self._some.clear()
            await self._some.wait()
        del self._waiting[key]
        self._busy.add(key)
        try:
            yield key
        finally:
            self._busy.discard(key)
            if key in self._waiting:
                self._some.set()
