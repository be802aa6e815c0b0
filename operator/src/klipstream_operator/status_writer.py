"""Writes of an AnalysisJob's status: guarded, fenced, and taken into the store at once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from klipstream_api import AnalysisJob, AnalysisJobStatus, AnalysisQueue, Phase, names
from klipstream_kube import Client, Conflict, NotFound, Resource, Unreachable
from klipstream_operator.leadership import Fence, only_while, sent_once
from klipstream_operator.log_fields import job_fields, wire_fields
from klipstream_operator.patches import status_patch
from klipstream_operator.statuses import is_accepted
from klipstream_operator.store import QueueKey, Store
from klipstream_operator.transitions import Transition
from klipstream_operator.turnstile import Turnstile
from klipstream_queueing.order import rank

log = logging.getLogger(__name__)
JobObserver = Callable[[AnalysisJob, AnalysisJobStatus, Transition], None]
"""Told of each write that happened: the AnalysisJob before, its new status, and which transition that was."""
ANALYSIS_JOBS = Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(names.GROUP, names.VERSION, "analysisqueues", "AnalysisQueue")
DECIDED_ON_THE_QUEUE = frozenset(
    {Transition.ACCEPTED, Transition.REJECTED, Transition.REPLAYED, Transition.REPLAY_REFUSED}
)
"""What a queue's mode or size decided. The job's resourceVersion does not guard that: such a write is sent only while
the queue is as it was, and never again as it was after the API server asked to wait (429)."""


@dataclass(slots=True)
class StatusWriter:
    """Writes statuses of AnalysisJobs and reads them live."""

    client: Client
    store: Store
    fence: Fence | None
    turnstile: Turnstile
    observe: JobObserver = lambda *_: None

    def now(self) -> datetime:
        """The API server's clock, in UTC."""
        return self.client.now()

    async def write(
        self,
        job: AnalysisJob,
        status: AnalysisJobStatus,
        transition: Transition,
        decided_for: AnalysisQueue | None = None,
    ) -> bool:
        """Write a status under the resourceVersion that the decision read.

        `decided_for` is the queue that decided it, where that was not just now. False when somebody wrote in between,
        the answer was lost, or nothing was sent since that queue changed or was filled: the store then holds what is
        true now, and the caller decides again. Other refusals raise ApiError; Unreachable is raised when the read fails
        too.
        """
        assert transition.allows(job.status.phase, status.phase), f"{transition}: {job.status.phase} -> {status.phase}"
        patch = status_patch(job.metadata, job.status, status)
        if patch is None:
            return True
        key = (job.metadata.namespace, status.queue_name or "")
        holds = None
        if transition in DECIDED_ON_THE_QUEUE:
            holds = partial(self._still_holds, key, decided_for or self.store.queues.get(key), transition)
        entering = status.phase is Phase.QUEUED and is_accepted(status)
        # A log that was archived changes nobody's place, and so waits for nobody's reservation.
        if not entering or transition is Transition.LOG_ARCHIVED:
            return await self._send(job, status, patch, transition, holds)
        try:
            async with self.turnstile.arriving(key, rank(job.model_copy(update={"status": status}))):
                return await self._send(job, status, patch, transition, holds)
        finally:
            self.store.on_queue(key)  # whoever was held up by it, whether it came or not

    def _still_holds(self, key: QueueKey, queue: AnalysisQueue | None, transition: Transition) -> bool:
        """Whether what was decided for a queue is what would be decided now: waiting for a reservation that is being
        written, or for a connection, may take longer than it takes to drain a queue."""
        now = self.store.queues.get(key)
        if generation_of(queue) != generation_of(now):
            return False
        full = now is not None and self.store.queued(key) >= now.spec.max_queue_size
        return not full or transition is not Transition.ACCEPTED

    async def _send(
        self,
        job: AnalysisJob,
        status: AnalysisJobStatus,
        patch: dict[str, Any],
        transition: Transition,
        holds: Callable[[], bool] | None,
    ) -> bool:
        fence = self.fence
        if holds is not None:
            if not holds():
                return False
            if fence is not None:
                fence = sent_once(only_while(holds), fence)
        try:
            answer = await self.client.patch(
                ANALYSIS_JOBS, job.metadata.name, job.metadata.namespace, patch,
                subresource="status", before_send=fence,
            )  # fmt: skip
        except (Conflict, Unreachable):
            await self.read(job)
            self._observe_if_written(job, status, transition)
            return False
        except NotFound:
            self.store.remove_job(job.uid)
            return False
        if status.phase is not job.status.phase:
            log.info(
                "AnalysisJob %s/%s: %s (%s -> %s, attempt %d)", job.metadata.namespace, job.metadata.name,
                transition.label, job.status.phase, status.phase, status.attempt, extra=job_fields(job, status),
            )  # fmt: skip
        self.take(answer)
        self.observe(job, status, transition)
        return True

    def _observe_if_written(self, job: AnalysisJob, status: AnalysisJobStatus, transition: Transition) -> None:
        """A lost answer leaves open whether the write happened; the object that was read live tells."""
        live = self.store.jobs.get(job.uid)
        if live is not None and live.status.to_wire() == status.to_wire():
            self.observe(job, status, transition)

    def take(self, answer: dict[str, Any]) -> AnalysisJob | None:
        """Take an AnalysisJob that the API server sent into the store; None, and a log line, if it is malformed.

        None as well if a queue of another shard took it, or will.
        """
        if not self.store.shard.sees_job(answer):
            if answer["metadata"]["uid"] in self.store.jobs:
                self.store.remove_job(answer["metadata"]["uid"])
            return None
        try:
            job = AnalysisJob.from_wire(answer)
        except ValidationError as error:
            metadata = answer.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else "?"
            first = error.errors()[0]
            log.error(
                "AnalysisJob %s is malformed and is left alone until it is mended: %s: %s. Was it stored under an"
                " older CRD? Compare it with `kubectl explain analysisjob.spec`.",
                name, ".".join(str(part) for part in first["loc"]), first["msg"],
                extra=wire_fields(answer),
            )  # fmt: skip
            return None
        self.store.put_job(job, self.now())
        return job

    async def read(self, job: AnalysisJob) -> None:
        """Read an AnalysisJob live into the store; it is forgotten when it is gone or another has its name."""
        try:
            answer = await self.client.get(ANALYSIS_JOBS, job.metadata.name, job.metadata.namespace)
        except NotFound:
            self.store.remove_job(job.uid)
            return
        if answer["metadata"]["uid"] != job.uid:
            self.store.remove_job(job.uid)
        self.take(answer)


def generation_of(queue: AnalysisQueue | None) -> tuple[str, int] | None:
    """Which queue it is, and which of its specs."""
    return (queue.metadata.uid, queue.metadata.generation) if queue is not None else None
