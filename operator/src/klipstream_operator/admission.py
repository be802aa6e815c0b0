"""Admission: one writer per AnalysisQueue releases and reserves slots, one write at a time (design rules 1 and 10)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from klipstream_api import FINISHED_PHASES, Admitted, AnalysisJob, AnalysisQueue, AnalysisQueueStatus, names
from klipstream_kube import JOBS, PODS, ApiError, Client, Conflict, NotFound, Unreachable
from klipstream_operator.leadership import Fence
from klipstream_operator.patches import status_patch
from klipstream_operator.queue_status import fold, free_slots
from klipstream_operator.status_writer import ANALYSIS_JOBS, ANALYSIS_QUEUES
from klipstream_operator.store import QueueKey, Store
from klipstream_operator.turnstile import Turnstile
from klipstream_operator.workload import AttemptView, view_job, view_pod
from klipstream_queueing.order import Rank

log = logging.getLogger(__name__)
COUNTERS_EVERY_SECONDS = 2.0
RETRY_SECONDS = 1.0


def take_queue(obj: dict[str, object], store: Store, client: Client) -> AnalysisQueue | None:
    """Take an AnalysisQueue that the API server sent into the store; a malformed one is named and left alone."""
    try:
        queue = AnalysisQueue.from_wire(obj)
    except ValidationError as error:
        first = error.errors()[0]
        metadata = obj.get("metadata")
        log.error(
            "AnalysisQueue %s is malformed and starts nothing until it is mended: %s: %s",
            metadata.get("name") if isinstance(metadata, dict) else "?",
            ".".join(str(part) for part in first["loc"]), first["msg"],
        )  # fmt: skip
        return None
    store.put_queue(queue, client.now())
    return queue


@dataclass(slots=True)
class QueueWriter:
    """The only writer of one AnalysisQueue's status."""

    key: QueueKey
    client: Client
    store: Store
    turnstile: Turnstile
    fence: Fence
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    _written_at: float = 0.0
    _counters_due: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Write whenever something changed; returns when the queue is deleted."""
        while self.key in self.store.queues:
            await self.dirty.wait()
            self.dirty.clear()
            try:
                while self.key in self.store.queues and await self.turn():
                    pass
            except (ApiError, Unreachable) as error:
                log.warning("AnalysisQueue %s/%s: tried again in %s s: %s", *self.key, RETRY_SECONDS, error)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self.dirty.set)

    async def turn(self) -> bool:
        """Release what is over, reserve for those that come first, write once. True if there may be more to do."""
        queue = self.store.queues[self.key]
        if not queue.status.initialized:
            return await self._initialize(queue)
        # 1. Slots whose attempt is over and settled.
        released = [entry for entry in queue.status.admitted if self.store.releasable(entry.uid, entry.attempt)]
        # 2. The jobs that come first take the free ones; assumed until the write is known to have happened.
        picked = self.store.backlogs[self.key].pop_first(free_slots(queue, len(released)))
        self.store.assumed.update(rank.uid for rank in picked)
        try:
            chosen = self.turnstile.allowed(self.key, picked)
            reserved = [self._reservation(rank) for rank in chosen]
            # 3. One write for all of it; counters alone wait for their turn.
            status = fold(queue, self.store, released, reserved, self.client.now())
            if status == queue.status or (not released and not reserved and self._too_early(queue, status)):
                return False
            with self.turnstile.reserving(self.key, chosen):
                return await self._write(queue, status)
        finally:
            # 4. Confirmed ones are in the reservations now; the others go back to their places.
            now = self.client.now()
            for rank in picked:
                self.store.assumed.discard(rank.uid)
                self.store.refresh(rank.uid, now)
                self.store.on_job(rank.uid)

    def _reservation(self, rank: Rank) -> Admitted:
        job = self.store.jobs[rank.uid]
        return Admitted(uid=job.uid, attempt=job.status.attempt + 1, name=job.metadata.name)

    def _too_early(self, queue: AnalysisQueue, status: AnalysisQueueStatus) -> bool:
        """Counters and head are written at most every two seconds; a changed spec or condition at once."""
        urgent = status.observed_generation != queue.status.observed_generation or [
            (c.type, c.status) for c in status.conditions
        ] != [(c.type, c.status) for c in queue.status.conditions]
        loop = asyncio.get_running_loop()
        wait = self._written_at + COUNTERS_EVERY_SECONDS - loop.time()
        if urgent or wait <= 0:
            return False
        if self._counters_due is None or self._counters_due.when() <= loop.time():
            self._counters_due = loop.call_later(wait, self.dirty.set)
        return True

    async def _write(self, queue: AnalysisQueue, status: AnalysisQueueStatus) -> bool:
        """One guarded write. After a conflict or a lost answer: read live, decide again."""
        patch = status_patch(queue.metadata, queue.status, status)
        if patch is None:
            return False
        try:
            answer = await self.client.patch(
                ANALYSIS_QUEUES, self.key[1], self.key[0], patch, subresource="status", before_send=self.fence
            )
        except (Conflict, Unreachable):
            await self._read(queue)
            return True
        except NotFound:
            self.store.remove_queue(self.key, queue.metadata.uid, self.client.now())
            return False
        self._written_at = asyncio.get_running_loop().time()
        take_queue(answer, self.store, self.client)
        return True

    async def _read(self, queue: AnalysisQueue) -> None:
        try:
            answer = await self.client.get(ANALYSIS_QUEUES, self.key[1], self.key[0])
        except NotFound:
            self.store.remove_queue(self.key, queue.metadata.uid, self.client.now())
            return
        take_queue(answer, self.store, self.client)

    async def _initialize(self, queue: AnalysisQueue) -> bool:
        """Take what already runs into the reservations, from live lists, before anything starts (design rule 7)."""
        namespace, name = self.key
        selector = f"{names.QUEUE_LABEL}={name}"
        attempts: dict[tuple[str, int], AttemptView] = {}
        for obj in (await self.client.list(JOBS, namespace, label_selector=selector))[0]:
            if (job := view_job(obj)) is not None:
                attempts.setdefault((job.job_uid, job.attempt), AttemptView()).job = job
        for obj in (await self.client.list(PODS, namespace, label_selector=selector))[0]:
            if (pod := view_pod(obj)) is not None:
                attempts.setdefault((pod.job_uid, pod.attempt), AttemptView()).pods[pod.uid] = pod
        by_uid = {job.uid: job for job in await self._analysis_jobs(namespace)}
        held = {(entry.uid, entry.attempt): entry for entry in queue.status.admitted}
        for (uid, attempt), view in attempts.items():
            owner = by_uid.get(uid)
            unsettled = owner is not None and (
                owner.status.attempt < attempt
                or (owner.status.attempt == attempt and owner.status.phase not in FINISHED_PHASES)
            )
            if view.live_pods or not view.over or unsettled:
                owner_name = owner.metadata.name if owner is not None else uid
                held.setdefault((uid, attempt), Admitted(uid=uid, attempt=attempt, name=owner_name))
        admitted = tuple(held.values())
        initial = queue.status.model_copy(update={"initialized": True, "admitted": admitted, "active": len(admitted)})
        log.info("AnalysisQueue %s/%s: initialized with %d running attempts", namespace, name, len(admitted))
        return await self._write(queue, initial)

    async def _analysis_jobs(self, namespace: str) -> list[AnalysisJob]:
        """The namespace's AnalysisJobs, live; a malformed one counts as unknown, so what runs for it is kept."""
        jobs = []
        for obj in (await self.client.list(ANALYSIS_JOBS, namespace))[0]:
            try:
                jobs.append(AnalysisJob.from_wire(obj))
            except ValidationError:
                continue
        return jobs


@dataclass(slots=True)
class Admission:
    """The writers of all queues."""

    client: Client
    store: Store
    turnstile: Turnstile
    fence: Fence
    _writers: dict[QueueKey, QueueWriter] = field(default_factory=dict)
    _start: Callable[[QueueWriter], object] | None = None

    def enqueue(self, key: QueueKey) -> None:
        """Look at a queue soon; a new one gets its writer."""
        writer = self._writers.get(key)
        if writer is None:
            if self._start is None or key not in self.store.queues:
                return
            writer = self._writers[key] = QueueWriter(key, self.client, self.store, self.turnstile, self.fence)
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
