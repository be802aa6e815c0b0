"""What to do next for one AnalysisJob: pure, one step at a time, decided from what is known now.

The reconciler carries the step out, takes in what the API server answered, and asks again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from klipstream_api import (
    FINISHED_PHASES,
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    Phase,
    Progress,
)
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator import statuses
from klipstream_operator.failures import classify
from klipstream_operator.limits import limits_of
from klipstream_operator.workload import AttemptView, PodView

RUNNING_AFTER_SECONDS = 5
"""A worker that posts no progress counts as running after that long; shorter runs save the write."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before that moment, or before something changes."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Create the Job of a reserved attempt; a suspended one only occupies the name (design rule 2)."""

    attempt: int
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Suspend:
    """Stop an attempt: the Job controller removes its pod."""

    attempt: int
    job_name: str


@dataclass(frozen=True, slots=True)
class ReadLive:
    """Ask the API server for the attempt's Job and pods before believing that they are gone."""

    attempt: int


@dataclass(frozen=True, slots=True)
class FailLostPod:
    """End a pod whose node does not answer, as the pod garbage collector does (design rule 6)."""

    pod: PodView


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write a status; `transition` names it in logs."""

    status: AnalysisJobStatus
    transition: str


Step = Wait | Launch | Suspend | ReadLive | FailLostPod | WriteStatus


def next_step(
    job: AnalysisJob,
    queue: AnalysisQueue | None,
    reserved: frozenset[int],
    seen: Callable[[int], AttemptView],
    progress: Progress | None,
    now: datetime,
) -> Step:
    """The next step for a job.

    `reserved` are its attempts that hold a slot, `seen(attempt)` is what runs for one of them, `progress` is the
    latest post of the worker that is not written yet.
    """
    status = job.status
    if status.sequence is None:
        return Wait()
    unused = max((attempt for attempt in reserved if attempt > status.attempt), default=None)
    if unused is not None and (status.phase is not Phase.QUEUED or job.spec.cancel):
        return _give_up_unused(job, unused, seen(unused), now)
    if status.phase not in ACTIVE_PHASES and (doubtful := _doubtful(reserved, status.attempt, seen)) is not None:
        return ReadLive(doubtful)
    if status.phase in FINISHED_PHASES:
        return _replay(job, reserved, now)
    if status.phase in ACTIVE_PHASES:
        return _follow(job, queue, seen(status.attempt), progress, now)
    if job.spec.cancel:
        return WriteStatus(statuses.cancelled(job, now, "The job was cancelled before it ran."), "cancelled")
    if status.phase is Phase.BACKING_OFF:
        return _back_off(job, now)
    if unused is not None:
        view = seen(unused)
        if view.job is not None and view.job.owner_uid == job.uid:
            return WriteStatus(statuses.started(job, unused, view.job.uid, now), "started")
        return Launch(unused)
    not_before = job.spec.not_before
    return Wait(not_before if not_before is not None and not_before > now else None)


def _doubtful(reserved: frozenset[int], begun: int, seen: Callable[[int], AttemptView]) -> int | None:
    """A settled attempt that holds a slot though neither Job nor pod of it is known: deleted by hand, perhaps."""
    for attempt in sorted(attempt for attempt in reserved if attempt <= begun):
        view = seen(attempt)
        if view.job is None and not view.live_pods and not view.over:
            return attempt
    return None


def _give_up_unused(job: AnalysisJob, attempt: int, view: AttemptView, now: datetime) -> Step:
    """A reservation that will not be used: occupy the name so that nothing can come late, then let go."""
    if view.job is None and not view.job_gone:
        return Launch(attempt, suspended=True)
    if not view.over:
        if view.job is not None and not view.job.suspend:
            return Suspend(attempt, view.job.name)
        return Wait()
    if job.status.phase is Phase.QUEUED:
        pod = view.ended_pod
        if pod is not None and pod.phase == "Succeeded" and view.job is not None:
            return WriteStatus(statuses.started(job, attempt, view.job.uid, now), "started")
        return WriteStatus(statuses.cancelled(job, now, "The job was cancelled before it ran."), "cancelled")
    return Wait()


def _replay(job: AnalysisJob, reserved: frozenset[int], now: datetime) -> Step:
    """A finally failed job runs again when spec.replay was raised; only once its last slot is released."""
    if job.status.phase is not Phase.FAILED or job.spec.replay <= job.status.observed_replay or reserved:
        return Wait()
    return WriteStatus(statuses.replayed(job, now), "replayed")


def _back_off(job: AnalysisJob, now: datetime) -> Step:
    due = job.status.next_attempt_at
    if due is not None and due > now:
        return Wait(due)
    status = job.status.model_copy(update={"phase": Phase.QUEUED, "next_attempt_at": None})
    return WriteStatus(status, "retry due")


def _follow(
    job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, progress: Progress | None, now: datetime
) -> Step:
    """An attempt is under way: see it start, run and end."""
    status = job.status
    if view.over:
        return _settle(job, queue, view, progress, now)
    if view.job is None and not view.live_pods:
        return ReadLive(status.attempt)
    if job.spec.cancel and view.job is not None and not view.job.suspend:
        return Suspend(status.attempt, view.job.name)
    waits: list[datetime] = []
    for pod in view.live_pods:
        if pod.deleted_at is not None:
            node_lost = limits_of(job, queue).node_lost
            lost_at = pod.deleted_at + timedelta(seconds=node_lost.seconds)
            if lost_at <= now and node_lost.release:
                return FailLostPod(pod)
            waits.append(lost_at)
        if status.phase is Phase.STARTING and pod.running_since is not None:
            running_at = pod.running_since + timedelta(seconds=RUNNING_AFTER_SECONDS)
            if running_at <= now:
                return WriteStatus(status.model_copy(update={"phase": Phase.RUNNING}), "running")
            waits.append(running_at)
    return Wait(min((moment for moment in waits if moment > now), default=None))


def _settle(
    job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, progress: Progress | None, now: datetime
) -> Step:
    """The attempt is over: success first, since a cancel that comes too late loses."""
    # What the worker said last may not be written yet; once the job is finished it could not be.
    if progress is not None and progress.attempt == job.status.attempt:
        job = job.model_copy(update={"status": job.status.model_copy(update={"progress": progress})})
    pod = view.ended_pod
    if (pod is not None and pod.phase == "Succeeded") or (pod is None and view.job is not None and view.job.complete):
        return WriteStatus(statuses.succeeded(job, queue, pod, now), "succeeded")
    if job.spec.cancel:
        return WriteStatus(statuses.cancelled(job, now, "The running attempt was stopped."), "cancelled")
    failure = classify(view)
    return WriteStatus(statuses.failed(job, queue, failure, now), f"attempt failed: {failure.failure_class}")
