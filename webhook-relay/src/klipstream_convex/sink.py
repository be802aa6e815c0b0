"""What changed goes to Convex: only the latest of each object, in batches, one at a time.

Nothing is kept on disk. What was not told when the process ended is found by the sweep of the next one, since the
cluster holds all of it.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import orjson

from klipstream_convex.deployment import Away, Deployment, FunctionFailed, Refused
from klipstream_convex.shadow import Kind, Update
from klipstream_kube.backoff import Backoff

log = logging.getLogger(__name__)
BATCH = 150
"""At most 12 calls each of the 4,096 that a mutation may make."""
BATCH_BYTES = 4 << 20
"""Of the 16 MiB that a mutation's arguments may have."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
REFUSED_SECONDS = 30.0
"""Somebody has to act first, so that asking often is of no use."""
_FIELDS: dict[tuple[Kind, bool], str] = {
    ("job", True): "jobs",
    ("job", False): "deletedJobs",
    ("queue", True): "queues",
    ("queue", False): "deletedQueues",
}


class Sink:
    """Tells updates. One batch is on its way at a time, so that nothing overtakes anything."""

    def __init__(self, deployment: Deployment, cluster: str, *, flush_seconds: float) -> None:
        self._deployment = deployment
        self._cluster = cluster
        self._flush_seconds = flush_seconds
        self._waiting: dict[str, Update] = {}
        self._sending: dict[str, Update] = {}
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._backoff = Backoff(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        self.epoch = 0
        self.problem: str | None = None
        """What keeps the rows from being current; None while they are."""
        self.dead_letters: dict[str, str] = {}
        """Why Convex does not take an object, by uid; tried again when the object changes and by each sweep."""
        self.told = 0
        """Updates that Convex has taken."""

    def __len__(self) -> int:
        """Updates that Convex has not confirmed yet."""
        return len(self._waiting.keys() | self._sending.keys())

    def holds(self, uid: str) -> bool:
        """Whether something is still to be told of an object."""
        return uid in self._waiting or uid in self._sending

    def put(self, update: Update) -> None:
        """Tell this soon; it replaces an older update of the same object that waits."""
        known = self._waiting.get(update.uid)
        if known is None or update.version >= known.version:
            self._waiting[update.uid] = update
            self._idle.clear()
            self._something.set()

    async def settled(self) -> None:
        """Wait until everything that was put is told."""
        await self._idle.wait()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._something.wait()
            await asyncio.sleep(self._flush_seconds)
            while self._waiting:
                self._take()
                await self._tell()
            self._something.clear()
            self._idle.set()

    def _take(self) -> None:
        size = 0
        for uid, update in list(self._waiting.items())[:BATCH]:
            size += len(orjson.dumps(update.row)) if update.row is not None else 100
            if self._sending and size > BATCH_BYTES:
                return
            self._sending[uid] = self._waiting.pop(uid)

    async def _tell(self) -> None:
        """One batch, or put it back and wait."""
        wait_seconds = 0.0
        try:
            await self.deliver(list(self._sending.values()))
            self._backoff.reset()
            self._well()
        except Refused as error:
            wait_seconds = REFUSED_SECONDS
            self._unwell(f"Convex refuses us: {error}", logging.ERROR)
        except Away as error:
            wait_seconds = max(self._backoff.next_seconds(), error.retry_after_seconds)
            self._unwell(f"Convex is away: {error}", logging.WARNING)
        if wait_seconds:
            for uid, update in self._sending.items():
                self._waiting.setdefault(uid, update)
        self._sending.clear()
        await asyncio.sleep(wait_seconds)

    async def deliver(self, updates: list[Update], *, repair: bool = False) -> None:
        """Tell updates at once; `repair` also mends rows that differ at an equal version.

        Where the function does not take them, halves find the one that it does not take, which becomes a dead letter.
        Raises Away.
        """
        try:
            await self._mutate(updates, repair)
        except FunctionFailed as error:
            if len(updates) > 1:
                middle = len(updates) // 2
                await self.deliver(updates[:middle], repair=repair)
                await self.deliver(updates[middle:], repair=repair)
                return
            (update,) = updates
            self.dead_letters[update.uid] = str(error)
            log.error("Convex does not take the %s with uid %s, which stays out of date there: %s",
                      update.kind, update.uid, error)  # fmt: skip
            return
        for update in updates:
            self.dead_letters.pop(update.uid, None)
        self.told += len(updates)

    async def _mutate(self, updates: Iterable[Update], repair: bool) -> None:
        batch: dict[str, list[dict[str, Any]]] = {}
        for update in updates:
            batch.setdefault(_FIELDS[update.kind, update.row is not None], []).append(update.to_wire(self.epoch))
        more = {"repair": True} if repair else {}
        await self._deployment.mutation("queue:upsertJobs", cluster=self._cluster, **batch, **more)

    def _unwell(self, problem: str, level: int) -> None:
        if self.problem is None:
            log.log(level, "%s; what changes meanwhile is told later", problem)
        self.problem = problem

    def _well(self) -> None:
        if self.problem is not None:
            log.warning("Convex takes updates again; %d wait", len(self._waiting))
        self.problem = None
