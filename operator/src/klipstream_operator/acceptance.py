"""Acceptance: a submission gets its queue and its place, or a clear refusal (rule 7)."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

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


class Decision(NamedTuple):
    """What was decided about a submission, and for which queue."""

    job: AnalysisJob
    status: AnalysisJobStatus
    queue: AnalysisQueue | None


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
    _decided: dict[str, int] = field(default_factory=dict)
    """Version of each submission for which nothing else would be decided until a queue changes, by uid."""
    _routes: int = 0
    """Of the store, when that was decided."""

    async def run(self) -> None:
        """Never returns."""
        self._decided.clear()  # what a former leader decided may not have been written
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            await self._round()

    async def _round(self) -> None:
        """Decide about all submissions that are there now."""
        line = deque(self._line())
        again: set[str] = set()
        while line:
            batch = self._batch([line.popleft() for _ in range(min(BATCH, len(line)))])
            left = await self._accept(batch, again)
            if left:
                # Nobody who was submitted later is accepted before them, or takes their place in a queue.
                line.extendleft(reversed(left))
                await asyncio.sleep(AGAIN_SECONDS)
            # Most of a batch may need no write: without this, thousands of them would hold up everybody else.
            await asyncio.sleep(0)

    def _line(self) -> list[str]:
        """Submissions to decide about, in order of creation: those that were not, at this version and for these queues.

        Thousands may wait for a queue that nobody creates, or be another shard's.
        """
        if self._routes != self.store.routes or len(self._decided) > 2 * len(self.store.unaccepted) + BATCH:
            self._routes = self.store.routes
            self._decided.clear()
        jobs = (self.store.jobs[uid] for uid in self.store.unaccepted)
        fresh = [job for job in jobs if self._decided.get(job.uid) != version(job)]
        fresh.sort(key=self._moment)
        return [job.uid for job in fresh]

    def _moment(self, job: AnalysisJob) -> tuple[float, int]:
        """When a job was created. Seconds: moments with a time zone are slow to compare."""
        created = job.metadata.creation_timestamp
        return created.timestamp() if created is not None else 0.0, _place(job, self.store)

    def _batch(self, uids: list[str]) -> list[AnalysisJob]:
        """Those of them that are to be decided about here: writes of earlier batches took time, so that some may be
        gone by now, or on their way to it, and queues may have come that are another shard's."""
        batch = []
        for uid in uids:
            job = self.store.jobs.get(uid)
            if job is None or uid not in self.store.unaccepted:
                continue
            self._decided[uid] = version(job)
            ours = self.store.shard.of == 1 or is_ours(job, self.store)
            if ours and job.metadata.deletion_timestamp is None:
                batch.append(job)
        return batch

    async def _accept(self, batch: list[AnalysisJob], again: set[str]) -> list[str]:
        """Decide and write; the uids of those that are to be decided about again before all others.

        `again` are those for which that was done once: a request that gets lost time and again holds nobody up.
        """
        waiting: dict[QueueKey, int] = {}
        now, routes = self.writer.now(), self.store.routes
        accepted: list[Decision] = []
        rejected: list[Decision] = []
        for job in batch:
            status = decide(job, self.store, waiting, now)
            if status != job.status:
                queue = self.store.queues.get((job.metadata.namespace, status.queue_name or ""))
                (rejected if status.phase is Phase.REJECTED else accepted).append(Decision(job, status, queue))
        left = await self._write(accepted)
        if left:
            # Places may be free that were taken when the others were to be turned away.
            turned_away = {decision.job.uid for decision in rejected}
        else:
            left, turned_away = await self._write(rejected), set()
        for uid in left & again if routes == self.store.routes else ():
            left.remove(uid)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._look_again, uid)
        again |= left
        return [job.uid for job in batch if job.uid in left or job.uid in turned_away]

    async def _write(self, decisions: list[Decision]) -> set[str]:
        """Write what was decided; the uids of those for which that did not come to pass, and that are still there."""
        limit = asyncio.Semaphore(WRITES_AT_ONCE)

        async def write(decision: Decision) -> bool:
            job = decision.job
            async with limit:
                try:
                    return await self.writer.write(job, decision.status, transition_of(decision.status), decision.queue)
                except (ApiError, Unreachable) as error:
                    log.warning("AnalysisJob %s/%s: acceptance is tried again: %s",
                                job.metadata.namespace, job.metadata.name, error, extra=job_fields(job))  # fmt: skip
                    return False

        written = await asyncio.gather(*map(write, decisions))
        uids = {decision.job.uid for decision, done in zip(decisions, written, strict=True) if not done}
        return uids & self.store.unaccepted

    def _look_again(self, uid: str) -> None:
        self._decided.pop(uid, None)
        self.wanted.set()
