"""Progress that workers post: written at most every five seconds per job (rule 11).

A post is answered once it is written: the first of an attempt, one with a new checkpoint, and each of a worker that
keeps to the interval. Only what comes faster is answered at once and written later, together; a replica that is
killed in between forgets it, until the worker posts again.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from klipstream_api import AnalysisJob, Phase, Progress, ProgressPost
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_kube import ApiError, Unreachable
from klipstream_operator.limits import limits_of
from klipstream_operator.log_fields import job_fields
from klipstream_operator.posted import posted
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.statuses import running
from klipstream_operator.store import Store, queue_key
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import PodView

log = logging.getLogger(__name__)
WRITE_EVERY_SECONDS = 5.0
CHECKPOINT_EVERY_SECONDS = 1.0
"""A new checkpoint is written sooner than other progress, since its post waits for that."""
ANSWER_SECONDS = 4.0
"""A worker is told to post again when its post is not written by then; it does not wait much longer itself."""
CONFLICTS_AT_MOST = 3


class Verdict(Enum):
    """What became of a post."""

    TAKEN = auto()
    STALE = auto()
    """The attempt is over, or it never was one of ours."""
    UNKNOWN = auto()
    """Not known yet, or not written yet: the worker is to try again soon."""


Answer = asyncio.Future[Verdict]


@dataclass(slots=True)
class ProgressBook:
    """Takes posts and writes them to the AnalysisJobs; works on every replica, whoever leads."""

    store: Store
    writer: StatusWriter
    _written_at: dict[str, float] = field(default_factory=dict)
    """When the last write of a job's progress began, as long as the next one has to wait for that."""
    _due: dict[str, float] = field(default_factory=dict)
    _writing: set[str] = field(default_factory=set)
    _answers: dict[str, list[Answer]] = field(default_factory=dict)
    """Posts that are answered once the progress of their job is written."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _finished: bool = False

    async def take(self, pod: PodView, post: ProgressPost) -> tuple[Verdict, AnalysisJob | None]:
        """Take a post of a pod whose identity is proven. A stale attempt is only called so after a live read."""
        job = self.store.jobs.get(pod.job_uid)
        if job is None or self._finished:
            return Verdict.UNKNOWN, None
        verdict = self._judge(job, pod)
        if verdict is Verdict.STALE:
            await self.writer.read(job)
            job = self.store.jobs.get(pod.job_uid)
            if job is None:
                return Verdict.STALE, None
            verdict = self._judge(job, pod)
        if verdict is not Verdict.TAKEN:
            return verdict, job
        written, before = job.status.progress, self.store.progress.get(job.uid)
        pending = posted(before, written, pod.attempt, post, self.writer.now())
        if pending is None:
            return verdict, job
        self.store.progress[job.uid] = pending
        if self._schedule(job, pending):
            verdict = await self._written(job.uid)
        return verdict, self.store.jobs.get(job.uid, job)

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

    def _schedule(self, job: AnalysisJob, pending: Progress) -> bool:
        """Set when the progress is written; whether its post waits for that."""
        first = job.status.phase is Phase.STARTING
        written = job.status.progress
        saves = pending.checkpoint is not None and (written is None or written.checkpoint != pending.checkpoint)
        pause = 0.0 if first else CHECKPOINT_EVERY_SECONDS if saves else WRITE_EVERY_SECONDS
        now = asyncio.get_running_loop().time()
        due = max(now, self._written_at.get(job.uid, now - pause) + pause)
        self._due[job.uid] = min(due, self._due.get(job.uid, due))
        self._changed.set()
        return first or saves or due <= now

    async def _written(self, uid: str) -> Verdict:
        answer: Answer = asyncio.get_running_loop().create_future()
        self._answers.setdefault(uid, []).append(answer)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return Verdict.UNKNOWN

    def deadline(self, job: AnalysisJob, pod: PodView) -> datetime | None:
        """When the kubelet ends the attempt; None while the pod's start is not known."""
        if pod.running_since is None:
            return None
        key = queue_key(job)
        limits = limits_of(job, self.store.queues.get(key) if key is not None else None)
        return pod.running_since + timedelta(seconds=limits.timeout_seconds)

    async def run(self) -> None:
        """Write what is due, each job's by itself; never returns."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                now = loop.time()
                for uid in [uid for uid, due in self._due.items() if due <= now and uid not in self._writing]:
                    del self._due[uid]
                    self._writing.add(uid)
                    tasks.create_task(self._write(uid))
                next_due = min((due for uid, due in self._due.items() if uid not in self._writing), default=None)
                # Not wait_for: up to Python 3.11 it loses a cancellation that comes in the same moment.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(next_due):
                        await self._changed.wait()

    async def finish(self, seconds: float) -> None:
        """Take no more, and write what was taken, for that long at most; after `run` was cancelled."""
        self._finished = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._write(uid) for uid in {*self.store.progress, *self._answers}))
        for answers in self._answers.values():
            _tell(answers, Verdict.UNKNOWN)
        if left := len(self.store.progress):
            log.warning("Progress of %d jobs could not be written before the end; their workers post again", left)

    async def _write(self, uid: str) -> None:
        """Write a job's latest progress and answer the posts that wait for it."""
        loop = asyncio.get_running_loop()
        began = self._written_at[uid] = loop.time()
        loop.call_later(WRITE_EVERY_SECONDS, self._forget, uid, began)
        answers: list[Answer] = []
        try:
            for _ in range(CONFLICTS_AT_MOST):
                answers += self._answers.pop(uid, [])
                verdict = await self._try(uid)
                if verdict is not None:
                    _tell(answers, verdict)
                    return
            self._due[uid] = loop.time() + CHECKPOINT_EVERY_SECONDS
        except (ApiError, Unreachable) as error:
            job = self.store.jobs.get(uid)
            if job is not None:
                log.warning("AnalysisJob %s/%s: progress is written later: %s",
                            job.metadata.namespace, job.metadata.name, error, extra=job_fields(job))  # fmt: skip
            self._forget(uid, began)
            self._due[uid] = loop.time() + WRITE_EVERY_SECONDS
            _tell(answers, Verdict.UNKNOWN)
        finally:
            if waiting := [answer for answer in answers if not answer.done()]:
                self._answers[uid] = waiting + self._answers.get(uid, [])
            self._writing.discard(uid)
            self._changed.set()

    async def _try(self, uid: str) -> Verdict | None:
        """One write, the first of an attempt says as well that it runs; None when it has to be decided again."""
        job, pending = self.store.jobs.get(uid), self.store.progress.get(uid)
        if pending is None:
            return Verdict.TAKEN if job is not None else Verdict.STALE
        if job is None or job.status.phase not in ACTIVE_PHASES or job.status.attempt != pending.attempt:
            self.store.progress.pop(uid, None)
            return Verdict.STALE
        transition = Transition.RUNNING if job.status.phase is Phase.STARTING else Transition.PROGRESS
        status = running(job, pending, self.writer.now())
        if not await self.writer.write(job, status, transition):
            return None
        progress = status.progress
        assert progress is not None
        current = self.store.progress.get(uid)
        if current is pending:
            del self.store.progress[uid]
        elif current is not None and current.checkpoint == progress.checkpoint:
            # Posted meanwhile, without a checkpoint of its own: that one is written now, and may soon be replaced.
            self.store.progress[uid] = current.model_copy(update={"checkpoint": None})
        superseded = pending.checkpoint is not None and progress.checkpoint != pending.checkpoint
        return Verdict.UNKNOWN if superseded else Verdict.TAKEN

    def _forget(self, uid: str, began: float) -> None:
        if self._written_at.get(uid) == began:
            del self._written_at[uid]


def _tell(answers: list[Answer], verdict: Verdict) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_result(verdict)
