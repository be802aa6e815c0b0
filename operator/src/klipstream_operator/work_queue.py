"""What is to be looked at, keyed, for several workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class WorkQueue:
    """Keys in order of their coming; each is with one worker at a time, and waits once however often it was added.

    A key that is added while a worker has it comes up again afterwards, so that no change is looked at too early.
    Each key wakes one worker: to wake all of them would cost more than the work itself.
    """

    _waiting: set[str] = field(default_factory=set)
    _busy: set[str] = field(default_factory=set)
    _ready: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Those that wait and that nobody has."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: str) -> None:
        """Have a key looked at soon."""
        if key not in self._waiting:
            self._waiting.add(key)
            if key not in self._busy:
                self._ready.put_nowait(key)

    def seen(self, key: str) -> None:
        """What a key was added for up to now is known to the worker that has it: it need not come up again for that."""
        self._waiting.discard(key)

    @asynccontextmanager
    async def next(self) -> AsyncIterator[str]:
        """The next key, once there is one; nobody else gets it until the block is left."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._busy.add(key)
        try:
            yield key
        finally:
            self._busy.discard(key)
            if key in self._waiting:
                self._ready.put_nowait(key)
