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
    Attempt,
    FailureClass,
    Phase,
    Progress,
    Stage,
    attempt_job_name,
)
from klipstream_api.meta import with_condition
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator.failures import INFRASTRUCTURE_LOSSES_AT_MOST, Failure, classify, worker_report
from klipstream_operator.limits import limits_of
from klipstream_operator.workload import AttemptView, PodView

RUNNING_AFTER_SECONDS = 5
"""A worker that posts no progress counts as running after that long; shorter runs save the write."""
ATTEMPTS_KEPT = 5


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
        return WriteStatus(cancelled(job, now, "The job was cancelled before it ran."), "cancelled")
    if status.phase is Phase.BACKING_OFF:
        return _back_off(job, now)
    if unused is not None:
        view = seen(unused)
        if view.job is not None and view.job.owner_uid == job.uid:
            return WriteStatus(started(job, unused, view.job.uid, now), "started")
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
            return WriteStatus(started(job, attempt, view.job.uid, now), "started")
        return WriteStatus(cancelled(job, now, "The job was cancelled before it ran."), "cancelled")
    return Wait()


def _replay(job: AnalysisJob, reserved: frozenset[int], now: datetime) -> Step:
    """A finally failed job runs again when spec.replay was raised; only once its last slot is released."""
    if job.status.phase is not Phase.FAILED or job.spec.replay <= job.status.observed_replay or reserved:
        return Wait()
    return WriteStatus(replayed(job, now), "replayed")


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
        return WriteStatus(succeeded(job, queue, pod, now), "succeeded")
    if job.spec.cancel:
        return WriteStatus(cancelled(job, now, "The running attempt was stopped."), "cancelled")
    failure = classify(view)
    return WriteStatus(failed(job, queue, failure, now), f"attempt failed: {failure.failure_class}")


# --- the statuses --------------------------------------------------------------------------------------------


def started(job: AnalysisJob, attempt: int, job_uid: str, now: datetime) -> AnalysisJobStatus:
    """The Job of an attempt exists."""
    entry = Attempt(attempt=attempt, job_name=attempt_job_name(job.uid, attempt), job_uid=job_uid, started_at=now)
    return job.status.model_copy(
        update={
            "phase": Phase.STARTING,
            "observed_generation": job.metadata.generation,
            "attempt": attempt,
            "attempts": (*job.status.attempts, entry)[-ATTEMPTS_KEPT:],
            "started_at": now,
            "next_attempt_at": None,
        }
    )


def launch_refused(job: AnalysisJob, attempt: int, why: str, now: datetime) -> AnalysisJobStatus:
    """The API server calls the attempt's Job invalid: no attempt of this job can start from that template."""
    begun = job.model_copy(update={"status": started(job, attempt, "", now).model_copy(update={"phase": Phase.FAILED})})
    message = f"The worker's pod cannot be made: {why} Mend the queue's workerTemplate, then raise spec.replay."
    failure = Failure(FailureClass.PERMANENT, "InvalidWorkerTemplate", message[:1024])
    return failed(begun, None, failure, now)


def succeeded(job: AnalysisJob, queue: AnalysisQueue | None, pod: PodView | None, now: datetime) -> AnalysisJobStatus:
    """The worker ended with exit code 0."""
    report = worker_report(pod.termination if pod is not None else None)
    default_url = None
    if queue is not None and queue.spec.results is not None:
        root = queue.spec.results.url.rstrip("/")
        default_url = f"{root}/jobs/{job.job_id}/attempts/{job.status.attempt}/"
    progress = job.status.progress
    if progress is not None:
        progress = progress.model_copy(
            update={
                "percentage": 100.0,
                "stage": Stage.COMPLETED.value,
                "attempt": job.status.attempt,
                "estimated_completion_seconds": None,
                "updated_at": now,
            }
        )
    return _finished(
        job, Phase.SUCCEEDED, "Succeeded", "The analysis is complete.", now,
        attempts=_attempt_ended(job, now, None),
        result_url=report.result_url or default_url,
        progress=progress,
    )  # fmt: skip


def cancelled(job: AnalysisJob, now: datetime, message: str) -> AnalysisJobStatus:
    """The user's cancel took effect."""
    active = job.status.phase in ACTIVE_PHASES
    return _finished(
        job, Phase.CANCELLED, "Cancelled", message, now,
        attempts=_attempt_ended(job, now, None) if active else job.status.attempts,
        next_attempt_at=None,
    )  # fmt: skip


def rejected(job: AnalysisJob, queue_name: str, reason: str, message: str, now: datetime) -> AnalysisJobStatus:
    """The queue did not take the job."""
    return _finished(job, Phase.REJECTED, reason, message, now, queue_name=queue_name)


def accepted(job: AnalysisJob, queue_name: str, now: datetime) -> AnalysisJobStatus:
    """The queue took the job; its place is the resourceVersion that guards this very write (design rule 9)."""
    conditions = tuple(c for c in job.status.conditions if c.type != "CapacityAvailable")
    return job.status.model_copy(
        update={
            "phase": Phase.QUEUED,
            "observed_generation": job.metadata.generation,
            "observed_replay": job.spec.replay,
            "queue_name": queue_name,
            "sequence": int(job.metadata.resource_version),
            "queued_at": now,
            "conditions": conditions,
        }
    )


def replayed(job: AnalysisJob, now: datetime) -> AnalysisJobStatus:
    """A finally failed job waits again at the end of its priority; attempts go on counting (design rule 8)."""
    conditions = with_condition(job.status.conditions, "Finished", "False", "Replayed", "The job runs again.", now)
    conditions = with_condition(conditions, "DeadLettered", "False", "Replayed", "The job runs again.", now)
    return job.status.model_copy(
        update={
            "phase": Phase.QUEUED,
            "observed_generation": job.metadata.generation,
            "observed_replay": job.spec.replay,
            "sequence": int(job.metadata.resource_version),
            "queued_at": now,
            "retries": 0,
            "infrastructure_losses": 0,
            "finished_at": None,
            "failure_fingerprint": None,
            "conditions": conditions,
        }
    )


def failed(job: AnalysisJob, queue: AnalysisQueue | None, failure: Failure, now: datetime) -> AnalysisJobStatus:
    """The attempt failed: another one follows, or the job becomes a dead letter."""
    limits = limits_of(job, queue)
    status = job.status
    attempts = _attempt_ended(job, now, failure)
    if failure.failure_class is FailureClass.INFRASTRUCTURE:
        losses = status.infrastructure_losses + 1
        if losses <= INFRASTRUCTURE_LOSSES_AT_MOST:
            delay_seconds = 0 if losses == 1 else limits.retry_delay_seconds(losses - 1)
            return _retry(job, attempts, delay_seconds, now, infrastructure_losses=losses)
        why = f"{losses} attempts in a row were lost to the infrastructure"
    elif failure.failure_class is FailureClass.PERMANENT:
        why = "the worker said that trying again will not help"
    elif status.retries < limits.max_retries:
        retry = status.retries + 1
        return _retry(job, attempts, limits.retry_delay_seconds(retry), now, retries=retry)
    else:
        why = f"all {limits.max_retries} retries are used up"
    message = f"{failure.message} Not tried again: {why}. Raise spec.replay to run it once more."
    final = _finished(
        job, Phase.FAILED, failure.failure_class.value, message, now,
        attempts=attempts, failure_fingerprint=failure.fingerprint,
    )  # fmt: skip
    dead = with_condition(final.conditions, "DeadLettered", "True", failure.reason, message, now)
    return final.model_copy(update={"conditions": dead})


def _retry(
    job: AnalysisJob, attempts: tuple[Attempt, ...], delay_seconds: int, now: datetime, **counts: int
) -> AnalysisJobStatus:
    """Back to the backlog with the old sequence, at once or after a delay that is fixed here, once."""
    due = now + timedelta(seconds=delay_seconds)
    changes = {
        "phase": Phase.BACKING_OFF if delay_seconds > 0 else Phase.QUEUED,
        "next_attempt_at": due if delay_seconds > 0 else None,
        "attempts": attempts,
    }
    return job.status.model_copy(update=changes | counts)


def _attempt_ended(job: AnalysisJob, now: datetime, failure: Failure | None) -> tuple[Attempt, ...]:
    ended = []
    for entry in job.status.attempts:
        if entry.attempt == job.status.attempt and entry.finished_at is None:
            changes: dict[str, object] = {"finished_at": now}
            if failure is not None:
                changes |= {
                    "failure_class": failure.failure_class,
                    "reason": failure.reason[:128],
                    "exit_code": failure.exit_code,
                    "message": failure.message[:1024],
                }
            entry = entry.model_copy(update=changes)
        ended.append(entry)
    return tuple(ended)


def _finished(
    job: AnalysisJob, phase: Phase, reason: str, message: str, now: datetime, **changes: object
) -> AnalysisJobStatus:
    """A final phase, with the Finished condition that `kubectl wait` looks for."""
    return job.status.model_copy(
        update={
            "phase": phase,
            "observed_generation": job.metadata.generation,
            "observed_replay": max(job.spec.replay, job.status.observed_replay)
            if phase is not Phase.FAILED
            else job.status.observed_replay,
            "finished_at": now,
            "conditions": with_condition(job.status.conditions, "Finished", "True", reason, message, now),
        }
        | changes
    )
