"""The one writer of an AnalysisQueue: releases and reserves slots, one write at a time (rule 1)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from klipstream_api import Admitted, AnalysisQueue, AnalysisQueueStatus, OperationName
from klipstream_api.meta import whole_milliseconds
from klipstream_kube import ApiError, Client, Conflict, NotFound, Unreachable
from klipstream_operator.administration import Answer, answer
from klipstream_operator.capacity import next_try, open_lanes
from klipstream_operator.initialization import initial_status
from klipstream_operator.jobs import WorkerContract
from klipstream_operator.leadership import Fence, sent_once
from klipstream_operator.log_fields import queue_fields
from klipstream_operator.operations import pending
from klipstream_operator.patches import status_patch
from klipstream_operator.queue_status import active_by_priority, fold, free_slots
from klipstream_operator.status_writer import ANALYSIS_QUEUES
from klipstream_operator.statuses import next_attempt
from klipstream_operator.store import QueueKey, Store
from klipstream_operator.taking import take_queue
from klipstream_operator.template_check import refusal
from klipstream_operator.turnstile import Turnstile
from klipstream_queueing.order import Rank
from klipstream_queueing.slots import take_first

log = logging.getLogger(__name__)
QueueObserver = Callable[[AnalysisQueue, AnalysisQueueStatus], None]
"""Told of each write that happened: the AnalysisQueue before, and its new status."""
COUNTERS_EVERY_SECONDS = 2.0
RETRY_SECONDS = 1.0


class RestartRequested(Exception):
    """An administrator asked the operator to forget what it knows; the message names the queue."""


class Orders(Protocol):
    """What a queue's writer asks of others."""

    def reconcile(self, key: QueueKey, done: Callable[[int], None]) -> None:
        """Sweep the queue's namespace soon, then say how many objects had been missed."""


@dataclass(slots=True)
class QueueWriter:
    """The only writer of one AnalysisQueue's status."""

    key: QueueKey
    client: Client
    store: Store
    turnstile: Turnstile
    fence: Fence
    orders: Orders
    contract: Callable[[], WorkerContract]
    observe: QueueObserver = lambda *_: None
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    _reconciling: tuple[str, int | None] | None = None
    """The request to reconcile that is being carried out, and what its sweep mended once it is done."""
    _decided_at: datetime | None = None
    """The moment that the last turn decided for."""
    _next_try: asyncio.TimerHandle | None = None
    _written_at: float = 0.0
    _counters_due: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Write whenever something changed; returns when the queue is deleted."""
        while self.key in self.store.queues:
            await self.dirty.wait()
            try:
                more = True
                while more and self.key in self.store.queues:
                    # A turn sees all that was noted up to here, so that its own write need not be looked at twice.
                    self.dirty.clear()
                    more = await self.turn()
                self._set_next_try()
            except (ApiError, Unreachable) as error:
                log.warning("AnalysisQueue %s/%s: tried again in %s s: %s", *self.key, RETRY_SECONDS, error,
                            extra=queue_fields(self.key))  # fmt: skip
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self.dirty.set)

    async def turn(self) -> bool:
        """Release what is over, reserve for those that come first, write once. True if there may be more to do."""
        queue = self.store.queues[self.key]
        if not queue.status.initialized:
            status = await initial_status(queue, self.client, self.store)
            patch = status_patch(queue.metadata, queue.status, status)
            assert patch is not None, "it was not initialized"
            await self._write(queue, status, patch)
            return True
        if await self._check_template(queue):
            return True
        # 1. Slots whose attempt is over and settled.
        released = [entry for entry in queue.status.admitted if self.store.releasable(entry.uid, entry.attempt)]
        now = whole_milliseconds(self.client.now())  # so that what comes back is what was written
        self._decided_at = now
        self.store.come_due(now)
        self._let_wait(released, now)
        # 2. What administrators ask for. Nothing is reserved in the write that clears the queue.
        asked = answer(queue, self.store, self._repaired(queue), now)
        free = 0 if OperationName.CLEAR in asked.outcomes else free_slots(queue, self.store, len(released))
        # 3. The jobs that come first take the free ones; assumed until the write is known to have happened.
        picked = self._pick(queue, free, released, now)
        self.store.assumed.update(rank.uid for rank in picked)
        try:
            chosen = self.turnstile.allowed(self.key, picked)
            reserved = [self._reservation(rank) for rank in chosen]
            # 4. One write for all of it; counters alone wait for their turn.
            status = fold(queue, self.store, released, reserved, asked, now)
            if status == queue.status or (not released and not reserved and self._too_early(queue, status)):
                return False
            patch = status_patch(queue.metadata, queue.status, status)
            if patch is None:
                return False
            with self.turnstile.reserving(self.key, chosen):
                unsure = await self._write(queue, status, patch)
            self._act(queue, asked)
            # What may have become possible by the write itself: a clear or a replay goes on, nobody is in the way any
            # more, and lanes are open that were closed by the shortages before it.
            goes_on = bool(asked.outcomes) or status.replays != queue.status.replays
            short = bool(queue.status.capacity or status.capacity)
            return unsure or goes_on or short or len(chosen) < len(picked)
        finally:
            # 5. Confirmed ones are in the reservations now; the others go back to their places.
            now = self.client.now() if picked or released else now
            for uid in {rank.uid for rank in picked} | {entry.uid for entry in released}:
                self.store.assumed.discard(uid)
                self.store.releasing.discard(uid)
                self.store.refresh(uid, now)
            for rank in picked:
                self.store.on_job(rank.uid)

    def _let_wait(self, released: list[Admitted], now: datetime) -> None:
        """A job that lost its attempt waits again, and the slot that it gives back is its own if it comes first."""
        for entry in released:
            if self.store.reserved(entry.uid) == {entry.attempt}:
                self.store.releasing.add(entry.uid)
                self.store.refresh(entry.uid, now)

    async def _check_template(self, queue: AnalysisQueue) -> bool:
        """Ask the API server once for each generation of the spec, before anything is made of its template.

        True if it was asked: the queue may be another one by now.
        """
        generation, _ = self.store.refused_templates.get(self.key, (None, None))
        if generation == queue.metadata.generation:
            return False
        try:
            why = await refusal(queue, self.client, self.contract())
        except ApiError as error:
            log.warning("AnalysisQueue %s/%s: the worker template could not be tried: %s", *self.key, error,
                        extra=queue_fields(self.key))  # fmt: skip
            why = None
        self.store.refused_templates[self.key] = (queue.metadata.generation, why)
        return True

    def _pick(self, queue: AnalysisQueue, free: int, released: list[Admitted], now: datetime) -> list[Rank]:
        """The jobs that come first, as far as higher priorities and the cluster's room let them."""
        if free == 0:
            return []
        lanes: dict[str, str] = {}
        return take_first(
            self.store.backlogs[self.key],
            free,
            queue.spec.reserved_slots,
            active_by_priority(queue, self.store, released),
            open_lanes(queue, lanes, now),
            lanes.__setitem__,
        )

    def _reservation(self, rank: Rank) -> Admitted:
        job = self.store.jobs[rank.uid]
        return Admitted(uid=job.uid, attempt=next_attempt(job.status), name=job.metadata.name)

    def _repaired(self, queue: AnalysisQueue) -> int | None:
        """What the sweep mended that a request to reconcile asked for; the first call for a request starts it."""
        request = pending(queue).get(OperationName.RECONCILE)
        if request is None:
            return None
        if self._reconciling is None or self._reconciling[0] != request:
            self._reconciling = (request, None)
            self.orders.reconcile(self.key, self._swept)
        return self._reconciling[1]

    def _swept(self, repaired: int) -> None:
        if self._reconciling is not None:
            self._reconciling = (self._reconciling[0], repaired)
            self.dirty.set()

    def _act(self, queue: AnalysisQueue, asked: Answer) -> None:
        """What follows from an acknowledgement, once it is known to be written."""
        written = self.store.queues.get(self.key)
        if written is None or not asked.outcomes:
            return
        if any(name in pending(written) for name in asked.outcomes):
            return
        for name, outcome in asked.outcomes.items():
            log.info("AnalysisQueue %s/%s: %s: %s", *self.key, name, outcome.message, extra=queue_fields(self.key))
        if OperationName.RESTART in asked.outcomes:
            raise RestartRequested(f"AnalysisQueue {queue.metadata.namespace}/{queue.metadata.name}")

    def _set_next_try(self) -> None:
        """Wake up when a lane opens that was closed in the last turn, for a job that tries if the cluster has room."""
        queue = self.store.queues.get(self.key)
        moment = next_try(queue, self._decided_at) if queue is not None and self._decided_at is not None else None
        if self._next_try is not None:
            self._next_try.cancel()
            self._next_try = None
        if moment is not None:
            delay = max(0.0, (moment - self.client.now()).total_seconds()) + 0.001
            self._next_try = asyncio.get_running_loop().call_later(delay, self.dirty.set)

    def _too_early(self, queue: AnalysisQueue, status: AnalysisQueueStatus) -> bool:
        """Counters and head are written at most every two seconds; a changed spec or condition at once."""
        urgent = (
            status.observed_generation != queue.status.observed_generation
            or status.operations != queue.status.operations
            or [(r.fingerprint, r.state) for r in status.replays]
            != [(r.fingerprint, r.state) for r in queue.status.replays]
            or [(c.type, c.status) for c in status.conditions] != [(c.type, c.status) for c in queue.status.conditions]
        )
        loop = asyncio.get_running_loop()
        wait = self._written_at + COUNTERS_EVERY_SECONDS - loop.time()
        if urgent or wait <= 0:
            return False
        if self._counters_due is None or self._counters_due.when() <= loop.time():
            self._counters_due = loop.call_later(wait, self.dirty.set)
        return True

    async def _write(self, queue: AnalysisQueue, status: AnalysisQueueStatus, patch: dict[str, Any]) -> bool:
        """One guarded write. After a conflict or a lost answer: read live, and True, to decide again."""
        self.store.being_written[self.key] = status
        try:
            answer = await self.client.patch(
                ANALYSIS_QUEUES, self.key[1], self.key[0], patch, subresource="status",
                before_send=sent_once(self.fence),
            )  # fmt: skip
            take_queue(answer, self.store, self.client)
        except (Conflict, Unreachable):
            await self._read(queue)
            return True
        except NotFound:
            self.store.remove_queue(self.key, queue.metadata.uid, self.client.now())
            return False
        finally:
            del self.store.being_written[self.key]
        self._written_at = asyncio.get_running_loop().time()
        self.observe(queue, status)
        return False

    async def _read(self, queue: AnalysisQueue) -> None:
        try:
            answer = await self.client.get(ANALYSIS_QUEUES, self.key[1], self.key[0])
        except NotFound:
            self.store.remove_queue(self.key, queue.metadata.uid, self.client.now())
            return
        take_queue(answer, self.store, self.client)
