"""Acceptance: a submission gets its queue and its place, or a clear refusal (rule 7)."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
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
from klipstream_operator.status_writer import StatusWriter, generation_of
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


class Outcome(NamedTuple):
    """What became of a batch."""

    written: int
    lost: set[str]
    """Submissions whose request was lost or refused, though they and their queues are as they were."""
    undecided: set[str]
    """Those that changed, or whose queue did; and those that were to be turned away, for places that others would have
    taken whose writes came to nothing."""


@dataclass(slots=True)
class Acceptance:
    """The task that accepts submissions in order of creation, batch by batch."""

    store: Store
    writer: StatusWriter
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _decided: dict[str, int] = field(default_factory=dict)
    """Version of each submission for which nothing else would be decided until the routes change, by uid."""
    _routes: int = 0
    """Of the store, when that was decided."""
    _back: set[str] = field(default_factory=set)
    """Those that were put off, and whose time has come."""

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            await self._round()

    async def _round(self) -> None:
        """Decide about all submissions that are there now; nobody who was submitted later is accepted before them."""
        line, again = deque(self._line()), set[str]()
        while line:
            batch = self._batch([line.popleft() for _ in range(min(BATCH, len(line)))])
            outcome = await self._accept(batch)
            self._reopen(outcome.undecided)
            if outcome.lost and outcome.lost <= again and not outcome.written:
                # The API server takes nothing: everybody waits.
                self._reopen(outcome.lost)
                await asyncio.sleep(RETRY_SECONDS)
                self.wanted.set()
                return
            for uid in outcome.lost & again:  # a request that gets lost time and again holds nobody up
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._come_back, uid)
            self._reopen(outcome.lost - again)
            if self._routes != self.store.routes:
                line = deque(self._line())
            else:
                first = (outcome.lost - again) | outcome.undecided | self._back
                line.extendleft(reversed(self._in_order(first & self.store.unaccepted)))
            self._back.clear()
            again |= outcome.lost
            # Most of a batch may need no write: without the latter, thousands of them would hold up everybody else.
            await asyncio.sleep(AGAIN_SECONDS if outcome.lost else 0)

    def _line(self) -> list[str]:
        """Submissions to decide about, in order of creation: those that were not, at this version and by these routes.

        Thousands may wait for a queue that nobody creates, or be another shard's.
        """
        if self._routes != self.store.routes or len(self._decided) > 2 * len(self.store.unaccepted) + BATCH:
            self._routes = self.store.routes
            self._decided.clear()
        jobs = (self.store.jobs[uid] for uid in self.store.unaccepted)
        return self._in_order(job.uid for job in jobs if self._decided.get(job.uid) != version(job))

    def _in_order(self, uids: Iterable[str]) -> list[str]:
        """By creation. Seconds: moments with a time zone are slow to compare."""

        def place(uid: str) -> tuple[float, int]:
            job = self.store.jobs[uid]
            created = job.metadata.creation_timestamp
            return created.timestamp() if created is not None else 0.0, _place(job, self.store)

        return sorted(uids, key=place)

    def _batch(self, uids: list[str]) -> list[AnalysisJob]:
        """Those of them that are to be decided about here: writes of earlier batches took time, so that some may be
        gone by now, or on their way to it, and queues may have come that are another shard's."""
        batch = []
        for uid in uids:
            job = self.store.jobs.get(uid)
            if job is None or uid not in self.store.unaccepted or self._decided.get(uid) == version(job):
                continue
            self._decided[uid] = version(job)
            ours = self.store.shard.of == 1 or is_ours(job, self.store)
            if ours and job.metadata.deletion_timestamp is None:
                batch.append(job)
        return batch

    def _reopen(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._decided.pop(uid, None)

    def _come_back(self, uid: str) -> None:
        self._reopen([uid])
        self._back.add(uid)
        self.wanted.set()

    async def _accept(self, batch: list[AnalysisJob]) -> Outcome:
        """Decide about submissions, in their order, and write that."""
        waiting: dict[QueueKey, int] = {}
        now = self.writer.now()
        accepted: list[Decision] = []
        rejected: list[Decision] = []
        for job in batch:
            status = decide(job, self.store, waiting, now)
            if status != job.status:
                queue = self.store.queues.get((job.metadata.namespace, status.queue_name or ""))
                (rejected if status.phase is Phase.REJECTED else accepted).append(Decision(job, status, queue))
        failed = await self._write(accepted)
        sent, unsent = (accepted, rejected) if failed else (accepted + rejected, [])
        if not failed:
            failed = await self._write(rejected)
        lost = {decision.job.uid for decision in failed if self._is_as_it_was(decision)}
        others = {decision.job.uid for decision in failed + unsent} - lost
        return Outcome(len(sent) - len(failed), lost & self.store.unaccepted, others & self.store.unaccepted)

    def _is_as_it_was(self, decision: Decision) -> bool:
        job, queue = self.store.jobs.get(decision.job.uid), decision.queue
        if job is None or version(job) != version(decision.job):
            return False
        return queue is None or generation_of(self.store.queues.get(queue.key)) == generation_of(queue)

    async def _write(self, decisions: list[Decision]) -> list[Decision]:
        """Write what was decided; those for which that did not come to pass."""
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
        return [decision for decision, done in zip(decisions, written, strict=True) if not done]
