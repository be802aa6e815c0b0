"""Acceptance: a submission gets its queue and its place, or a clear refusal (rule 7)."""

import asyncio
import heapq
import logging
from dataclasses import dataclass, field
from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisJobStatus, AnalysisQueue, Phase, QueueMode
from klipstream_api.meta import condition, with_condition
from klipstream_kube import ApiError, Unreachable
from klipstream_operator import statuses
from klipstream_operator.bounds import excess
from klipstream_operator.log_fields import job_fields
from klipstream_operator.sharding import UNROUTED
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import QueueKey, Store, version
from klipstream_operator.transitions import Transition
from klipstream_queueing.routing import route

log = logging.getLogger(__name__)
WRITES_AT_ONCE = 32
BATCH = 128
PLANNED = 16 * BATCH
"""Submissions that are put in order at a time: to do it for each batch would cost the square of a long backlog."""
RETRY_SECONDS = 1.0
AGAIN_SECONDS = 0.1


def decide(job: AnalysisJob, store: Store, waiting: dict[QueueKey, int], now: datetime) -> AnalysisJobStatus:
    """Status of a submission: accepted, Rejected with the reason, or waiting for a queue.

    `waiting` counts the jobs that wait in each queue, those accepted earlier in this batch included; the caller
    decides in order of creation, so that the first ones get the last places.
    """
    namespace = job.metadata.namespace
    name = destination(job, store)
    queue = store.queues.get((namespace, name)) if name is not None else None
    if job.spec.cancel:
        return statuses.cancelled(job, now, "The job was cancelled before it was accepted.")
    if name is None or queue is None:
        return _no_queue(job, name, _place(job, store), now)
    key = (namespace, name)
    if queue.spec.mode is QueueMode.DRAINING:
        message = f"The queue {name} is draining and takes no new jobs. Submit again once its mode is Running."
        return statuses.rejected(job, name, "QueueDraining", message, now)
    if waiting.setdefault(key, store.queued(key)) >= queue.spec.max_queue_size:
        message = (
            f"The queue {name} is full: {waiting[key]} jobs wait and spec.maxQueueSize is"
            f" {queue.spec.max_queue_size}. Submit again later, or raise maxQueueSize."
        )
        return statuses.rejected(job, name, "QueueFull", message, now)
    if (beyond := excess(job, queue)) is not None:
        message = f"The job asks for too much: {beyond}. Submit it with less, or raise resourceBounds.max of the queue."
        return statuses.rejected(job, name, "ResourcesOutOfBounds", message, now)
    waiting[key] += 1
    return statuses.accepted(job, name, _place(job, store), now)


def destination(job: AnalysisJob, store: Store) -> str | None:
    """The name of the queue that is to take a job, whichever shard looks after it."""
    namespace = job.metadata.namespace
    return route(job, (queue for queue in store.all_queues() if queue.metadata.namespace == namespace))


def is_ours(job: AnalysisJob, store: Store) -> bool:
    """Whether this shard is to decide about a submission.

    Two that know different queues may think so for a moment, or neither; a write is guarded by the job's version.
    """
    return store.shard.covers((job.metadata.namespace, destination(job, store) or UNROUTED))


def transition_of(status: AnalysisJobStatus) -> Transition:
    """Which transition a decision about a submission is."""
    if status.phase is Phase.REJECTED:
        return Transition.REJECTED
    if status.phase is Phase.CANCELLED:
        return Transition.CANCELLED
    return Transition.ACCEPTED if statuses.is_accepted(status) else Transition.HELD_UP


def _place(job: AnalysisJob, store: Store) -> int:
    """The job's place: the version at which it was first seen, as rule, when it was created.

    Later versions would do as well to be unique, but not to keep the order: users change jobs that wait for their
    acceptance, and so do we where there is no queue for them.
    """
    return job.status.sequence or store.arrivals.get(job.uid) or version(job)


def _no_queue(job: AnalysisJob, name: str | None, place: int, now: datetime) -> AnalysisJobStatus:
    """Not refused: it is accepted as soon as its queue exists. The condition says so, once."""
    if name is not None:
        reason = "QueueNotFound"
        message = (
            f"There is no AnalysisQueue {name} in namespace {job.metadata.namespace}."
            f" Create it, and the job is accepted; queueName cannot be changed."
        )
    else:
        reason = "NoQueueFits"
        message = (
            f"The job names no queue, and no AnalysisQueue in namespace {job.metadata.namespace} accepts it."
            f' Create one called "default", or submit the job with spec.queueName.'
        )
    before = condition(job.status.conditions, "CapacityAvailable")
    if before is not None and before.reason == reason and before.message == message:
        return job.status
    conditions = with_condition(job.status.conditions, "CapacityAvailable", "False", reason, message, now)
    return job.status.model_copy(
        update={"conditions": conditions, "observed_generation": job.metadata.generation, "sequence": place}
    )


@dataclass(slots=True)
class Acceptance:
    """The task that accepts submissions in order of creation, batch by batch."""

    store: Store
    writer: StatusWriter
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _routes: int = 0
    _ours: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """What `is_ours` says of a version of a job, by uid, as long as no queue changes."""

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            seen: dict[str, int] = {}
            again: set[str] = set()
            routes = self.store.routes
            while planned := self._planned(seen):
                for begin in range(0, len(planned), BATCH):
                    # Writes of earlier batches took time: some may be gone, or on their way to it, by now.
                    # Queues may have come as well, and be another shard's.
                    still = (self.store.jobs[u] for u in planned[begin : begin + BATCH] if u in self.store.unaccepted)
                    whole = await self._accept([job for job in still if self._is_to_be_decided(job)], seen, again)
                    if routes != self.store.routes:
                        routes = self.store.routes
                        seen.clear()  # what queues decided may be decided otherwise now
                        break
                    if not whole:
                        break  # who was not accepted comes before all that were submitted later

    def _planned(self, seen: dict[str, int]) -> list[str]:
        """The next submissions in order of creation, without those that were decided at this very version."""
        jobs = (self.store.jobs[uid] for uid in self.store.unaccepted)
        fresh = (job for job in jobs if seen.get(job.uid) != version(job) and self._is_to_be_decided(job))
        first = heapq.nsmallest(
            PLANNED, fresh, key=lambda job: (job.metadata.creation_timestamp, _place(job, self.store))
        )
        return [job.uid for job in first]

    def _is_to_be_decided(self, job: AnalysisJob) -> bool:
        """Whether a submission is there, and this shard's. Thousands may be another's, and are asked for each time."""
        if job.metadata.deletion_timestamp is not None:
            return False
        if self.store.shard.of == 1:
            return True
        if self._routes != self.store.routes or len(self._ours) > 2 * len(self.store.unaccepted):
            self._routes = self.store.routes
            self._ours.clear()
        at, ours = self._ours.get(job.uid, (0, False))
        if at != version(job):
            ours = is_ours(job, self.store)
            self._ours[job.uid] = (version(job), ours)
        return ours

    async def _accept(self, batch: list[AnalysisJob], seen: dict[str, int], again: set[str]) -> bool:
        """Decide and write. False if a job is to be decided again at once, before those of the next batch."""
        whole = True
        waiting: dict[QueueKey, int] = {}
        limit = asyncio.Semaphore(WRITES_AT_ONCE)
        now = self.writer.now()

        async def write(job: AnalysisJob, status: AnalysisJobStatus, queue: AnalysisQueue | None) -> None:
            nonlocal whole
            async with limit:
                try:
                    written = await self.writer.write(job, status, transition_of(status), queue)
                    if not written and job.uid in self.store.unaccepted and job.uid not in again:
                        # Its request was lost or not sent: once, it is the first of the next batch.
                        again.add(job.uid)
                        await asyncio.sleep(AGAIN_SECONDS)
                        seen.pop(job.uid, None)
                        whole = False
                except (ApiError, Unreachable) as error:
                    log.warning("AnalysisJob %s/%s: acceptance is tried again: %s",
                                job.metadata.namespace, job.metadata.name, error, extra=job_fields(job))  # fmt: skip
                    written = False
                # A job that somebody changed comes up by itself. One that is as it was does not: the request was lost.
                if not written and job.uid in self.store.unaccepted:
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, look_again, job.uid)

        def look_again(uid: str) -> None:
            seen.pop(uid, None)  # of a round that goes on while there are submissions
            self.wanted.set()

        decided: list[tuple[AnalysisJob, AnalysisJobStatus, AnalysisQueue | None]] = []
        for job in batch:
            status = decide(job, self.store, waiting, now)
            decided.append((job, status, self.store.queues.get((job.metadata.namespace, status.queue_name or ""))))
            seen[job.uid] = version(job)
        await asyncio.gather(*(write(*each) for each in decided if each[1] != each[0].status))
        return whole
