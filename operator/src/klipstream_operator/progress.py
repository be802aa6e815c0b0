"""Progress that workers post: taken at once, written at most every five seconds per job (design rule 11)."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from klipstream_api import AnalysisJob, Phase, Progress, ProgressPost
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_kube import ApiError, Unreachable
from klipstream_operator.limits import limits_of
from klipstream_operator.log_fields import job_fields
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.statuses import latest_progress, running
from klipstream_operator.store import Store, queue_key
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import PodView

log = logging.getLogger(__name__)
WRITE_EVERY_SECONDS = 5.0


class Verdict(Enum):
    """What became of a post."""

    TAKEN = auto()
    STALE = auto()
    """The attempt is over, or it never was one of ours."""
    UNKNOWN = auto()
    """Not known yet: the worker is to try again soon."""


def merged(before: Progress | None, attempt: int, post: ProgressPost, now: datetime) -> Progress:
    """Progress after a post: the percentage never falls within an attempt, a checkpoint stays until replaced.

    A post without anything new leaves it as it was, so that it costs no write and does not hide a stall.
    """
    checkpoint = post.checkpoint if post.checkpoint is not None else before.checkpoint if before else None
    same_attempt = before is not None and before.attempt == attempt
    percentage = round(post.percentage, 1)
    after = Progress(
        attempt=attempt,
        percentage=max(percentage, before.percentage) if before is not None and same_attempt else percentage,
        stage=post.stage,
        message=post.message or None,
        estimated_completion_seconds=post.estimated_completion_seconds,
        checkpoint=checkpoint,
        updated_at=now,
    )
    if before is not None and _content(before) == _content(after):
        return before
    return after


def _content(progress: Progress) -> tuple[object, ...]:
    """What makes progress new; the worker's estimate alone does not."""
    return progress.attempt, progress.percentage, progress.stage, progress.message, progress.checkpoint


@dataclass(slots=True)
class ProgressBook:
    """Takes posts and writes them to the AnalysisJobs; works on every replica, whoever leads."""

    store: Store
    writer: StatusWriter
    _written_at: dict[str, float] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, pod: PodView, post: ProgressPost) -> tuple[Verdict, AnalysisJob | None]:
        """Take a post of a pod whose identity is proven. A stale attempt is only called so after a live read."""
        job = self.store.jobs.get(pod.job_uid)
        if job is None:
            return Verdict.UNKNOWN, None
        verdict = self._judge(job, pod)
        if verdict is Verdict.STALE:
            await self.writer.read(job)
            job = self.store.jobs.get(pod.job_uid)
            if job is None:
                return Verdict.STALE, None
            verdict = self._judge(job, pod)
        if verdict is Verdict.TAKEN:
            before = latest_progress(job.status.progress, self.store.progress.get(job.uid))
            progress = merged(before, pod.attempt, post, self.writer.now())
            if progress is before and job.status.phase is Phase.RUNNING:
                return verdict, job
            self.store.progress[job.uid] = progress
            loop = asyncio.get_running_loop()
            self._due.setdefault(job.uid, max(loop.time(), self._written_at.get(job.uid, 0.0) + WRITE_EVERY_SECONDS))
            self._changed.set()
        return verdict, job

    def _judge(self, job: AnalysisJob, pod: PodView) -> Verdict:
        """The pod must belong to the Job that the status names for the current attempt."""
        status = job.status
        if pod.attempt == status.attempt and status.phase in ACTIVE_PHASES:
            ours = any(a.attempt == pod.attempt and a.job_uid == pod.owner_uid for a in status.attempts)
            return Verdict.TAKEN if ours else Verdict.STALE
        if pod.attempt == status.attempt + 1 and status.phase is Phase.QUEUED:
            # The Job was created, its uid is being recorded.
            return Verdict.UNKNOWN
        return Verdict.STALE

    def deadline(self, job: AnalysisJob, pod: PodView) -> datetime | None:
        """When the kubelet ends the attempt; None while the pod's start is not known."""
        if pod.running_since is None:
            return None
        key = queue_key(job)
        limits = limits_of(job, self.store.queues.get(key) if key is not None else None)
        return pod.running_since + timedelta(seconds=limits.timeout_seconds)

    async def run(self) -> None:
        """Write what is due; never returns."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            due = [uid for uid, moment in self._due.items() if moment <= now]
            for uid in due:
                del self._due[uid]
            await asyncio.gather(*(self._write(uid) for uid in due))
            next_due = min(self._due.values(), default=None)
            try:
                await asyncio.wait_for(
                    self._changed.wait(), None if next_due is None else max(0.0, next_due - loop.time())
                )
            except TimeoutError:
                continue

    async def _write(self, uid: str) -> None:
        """Write a job's latest progress; the first one also says that the attempt runs."""
        loop = asyncio.get_running_loop()
        for _ in range(3):
            job, progress = self.store.jobs.get(uid), self.store.progress.get(uid)
            if job is None or progress is None:
                return
            if job.status.phase not in ACTIVE_PHASES or job.status.attempt != progress.attempt:
                self.store.progress.pop(uid, None)
                self._written_at.pop(uid, None)
                return
            transition = Transition.RUNNING if job.status.phase is Phase.STARTING else Transition.PROGRESS
            try:
                written = await self.writer.write(job, running(job, progress, self.writer.now()), transition)
            except (ApiError, Unreachable) as error:
                log.warning("AnalysisJob %s/%s: progress is written later: %s",
                            job.metadata.namespace, job.metadata.name, error, extra=job_fields(job))  # fmt: skip
                self._due[uid] = loop.time() + WRITE_EVERY_SECONDS
                return
            if written:
                self._written_at[uid] = loop.time()
                if self.store.progress.get(uid) is progress:
                    del self.store.progress[uid]
                return
        self._due[uid] = loop.time() + 1.0
        self._changed.set()
