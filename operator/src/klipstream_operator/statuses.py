"""The statuses of an AnalysisJob, one function per transition: pure, the time is an argument."""

from datetime import datetime, timedelta
from typing import Literal

from klipstream_api import (
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    Attempt,
    Condition,
    FailureClass,
    Phase,
    Priority,
    Progress,
    Stage,
    Stop,
    StopReason,
    attempt_job_name,
)
from klipstream_api.meta import condition, with_condition
from klipstream_operator.failures import INFRASTRUCTURE_LOSSES_AT_MOST, Failure, worker_report
from klipstream_operator.limits import limits_of
from klipstream_operator.posted import latest_progress
from klipstream_operator.workload import PodView

ATTEMPTS_KEPT = 5


def resumable(status: AnalysisJobStatus) -> bool:
    """Whether the last attempt found no node and gave its slot back: it goes on where its suspended Job is."""
    last = status.attempts[-1] if status.attempts else None
    return (
        status.phase is Phase.QUEUED
        and last is not None
        and last.attempt == status.attempt
        and last.finished_at is None
    )


def next_attempt(status: AnalysisJobStatus) -> int:
    """The attempt that the next reservation is for."""
    return status.attempt if resumable(status) else status.attempt + 1


def waiting_since(status: AnalysisJobStatus) -> datetime | None:
    """Since when a job in Queued or BackingOff waits: its acceptance, or the end of its last attempt."""
    short = condition(status.conditions, "CapacityAvailable")
    if resumable(status) and short is not None and short.status == "False":
        return short.last_transition_time
    ends = [entry.finished_at for entry in status.attempts if entry.finished_at is not None]
    return max((*ends, *filter(None, (status.queued_at,))), default=None)


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
            "stop": None,
            "effective_priority": None,
            "conditions": _no_longer(job.status.conditions, "Stalled", "NewAttempt", now),
        }
    )


def resumed(job: AnalysisJob, now: datetime) -> AnalysisJobStatus:
    """An attempt that had found no node has a slot again, and its Job is no longer suspended."""
    *earlier, last = job.status.attempts
    return job.status.model_copy(
        update={
            "phase": Phase.STARTING,
            "observed_generation": job.metadata.generation,
            "attempts": (*earlier, last.model_copy(update={"started_at": now})),
            "started_at": now,
            "stop": None,
            "effective_priority": None,
        }
    )


def running(job: AnalysisJob, progress: Progress | None, now: datetime) -> AnalysisJobStatus:
    """The worker's container runs, or the worker posted progress."""
    return job.status.model_copy(
        update={
            "phase": Phase.RUNNING,
            "progress": latest_progress(job.status.progress, progress),
            "conditions": _no_longer(job.status.conditions, "CapacityAvailable", "Scheduled", now),
        }
    )


def stopping(job: AnalysisJob, stop: Stop, now: datetime) -> AnalysisJobStatus:
    """The operator ends the attempt; what follows is decided when nothing of it runs any more."""
    conditions = job.status.conditions
    if stop.reason in (StopReason.STALLED, StopReason.CLEARED_AS_STUCK):
        conditions = with_condition(conditions, "Stalled", "True", stop.reason.value, stop.message, now)
    return job.status.model_copy(update={"stop": stop, "conditions": conditions})


def returned(job: AnalysisJob, stop: Stop, missing: tuple[str, ...], now: datetime) -> AnalysisJobStatus:
    """No node had room: back to the backlog at the old place; the same attempt goes on under a new reservation."""
    reason = "Insufficient" + "And".join(word.title().replace(" ", "") for word in missing) if missing else "NoNodeFits"
    message = f"{stop.message} The job waits in the queue and tries again; no retry is used up."
    conditions = with_condition(job.status.conditions, "CapacityAvailable", "False", reason[:128], message, now)
    return job.status.model_copy(update={"phase": Phase.QUEUED, "stop": None, "conditions": conditions})


def abandoned(job: AnalysisJob, reason: str, message: str, now: datetime) -> AnalysisJobStatus:
    """An attempt that never ran is not gone on with: the next one takes over, and no retry is used up."""
    failure = Failure(FailureClass.UNSCHEDULABLE, reason, message)
    attempts = _attempt_ended(job, now, failure)
    return job.status.model_copy(update={"phase": Phase.QUEUED, "stop": None, "attempts": attempts})


def aged(job: AnalysisJob, priority: Priority) -> AnalysisJobStatus:
    """Aging raised the waiting job, or no longer does."""
    effective = priority if priority is not job.spec.priority else None
    return job.status.model_copy(update={"effective_priority": effective})


def launch_refused(job: AnalysisJob, attempt: int, reason: str, why: str, now: datetime) -> AnalysisJobStatus:
    """No Job can be made for the attempt; `reason` and `why` say what has to be mended."""
    begun = job.model_copy(update={"status": started(job, attempt, "", now)})
    return failed(begun, None, Failure(FailureClass.PERMANENT, reason, why[:1024]), now)


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
    job = _had_a_node(job, now)
    too_late = " The cancel came too late: the worker had ended by then." if job.spec.cancel else ""
    return _finished(
        job, Phase.SUCCEEDED, "Succeeded", f"The analysis is complete.{too_late}", now,
        attempts=_attempt_ended(job, now, None),
        result_url=report.result_url or default_url,
        progress=progress,
    )  # fmt: skip


def cancelled(job: AnalysisJob, now: datetime, message: str, reason: str = "Cancelled") -> AnalysisJobStatus:
    """The user's cancel took effect, or the queue was cleared."""
    return _finished(
        job, Phase.CANCELLED, reason, message, now,
        attempts=_attempt_ended(job, now, None),
        next_attempt_at=None,
    )  # fmt: skip


def rejected(job: AnalysisJob, queue_name: str, reason: str, message: str, now: datetime) -> AnalysisJobStatus:
    """The queue did not take the job."""
    return _finished(job, Phase.REJECTED, reason, message, now, queue_name=queue_name)


def is_accepted(status: AnalysisJobStatus) -> bool:
    """Whether a queue took the job. One that no queue takes yet may have its place, but waits in no backlog."""
    return status.queue_name is not None


def accepted(job: AnalysisJob, queue_name: str, sequence: int, now: datetime) -> AnalysisJobStatus:
    """The queue took the job, at its place in the order of creation (rule 7)."""
    conditions = tuple(c for c in job.status.conditions if c.type != "CapacityAvailable")
    return job.status.model_copy(
        update={
            "phase": Phase.QUEUED,
            "observed_generation": job.metadata.generation,
            "observed_replay": job.spec.replay,
            "queue_name": queue_name,
            "sequence": sequence,
            "queued_at": now,
            "conditions": conditions,
        }
    )


def replayed(job: AnalysisJob, now: datetime) -> AnalysisJobStatus:
    """A finally failed job waits again at the end of its priority; attempts go on counting (rule 9).

    When the failure was announced stays: without it the relay, had it been away, would have to announce it now.
    """
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


def replay_refused(job: AnalysisJob, now: datetime) -> AnalysisJobStatus:
    """A draining queue takes nothing in; the request is used up, so that it does not come true much later."""
    message = "The queue is draining, so the job was not run again. Raise spec.replay once its mode is Running."
    conditions = with_condition(job.status.conditions, "DeadLettered", "True", "ReplayRefused", message, now)
    return job.status.model_copy(update={"observed_replay": job.spec.replay, "conditions": conditions})


def failed(job: AnalysisJob, queue: AnalysisQueue | None, failure: Failure, now: datetime) -> AnalysisJobStatus:
    """The attempt failed: another one follows, or the job becomes a dead letter."""
    limits = limits_of(job, queue)
    if failure.node_name:
        job = _had_a_node(job, now)
    status = job.status
    attempts = _attempt_ended(job, now, failure)
    if failure.failure_class is FailureClass.INFRASTRUCTURE:
        losses = status.infrastructure_losses + 1
        if losses <= INFRASTRUCTURE_LOSSES_AT_MOST:
            delay_seconds = 0 if losses == 1 else limits.retry_delay_seconds(losses - 1)
            return _retry(job, attempts, delay_seconds, now, infrastructure_losses=losses)
        why = f"{losses} attempts were lost to the infrastructure"
    elif failure.failure_class is FailureClass.PERMANENT:
        why = "it would fail in the same way"
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
        "stop": None,
    }
    return job.status.model_copy(update=changes | counts)


def _attempt_ended(job: AnalysisJob, now: datetime, failure: Failure | None) -> tuple[Attempt, ...]:
    ended = []
    for entry in job.status.attempts:
        if entry.attempt == job.status.attempt and entry.finished_at is None:
            changes: dict[str, object] = {"finished_at": now}
            progress = job.status.progress
            if progress is not None and progress.attempt == entry.attempt:
                changes["resources"] = progress.resources
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


def _had_a_node(job: AnalysisJob, now: datetime) -> AnalysisJob:
    """An attempt may end before it counts as running; it had a node all the same."""
    conditions = _no_longer(job.status.conditions, "CapacityAvailable", "Scheduled", now)
    return job.model_copy(update={"status": job.status.model_copy(update={"conditions": conditions})})


def _no_longer(conditions: tuple[Condition, ...], type_: str, reason: str, now: datetime) -> tuple[Condition, ...]:
    """Turn a condition that tells of a trouble; one that was never set stays away."""
    before = condition(conditions, type_)
    good: Literal["True", "False"] = "True" if type_ == "CapacityAvailable" else "False"
    if before is None or before.status == good:
        return conditions
    return with_condition(conditions, type_, good, reason, "", now)


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
            "stop": None,
            "effective_priority": None,
            "conditions": with_condition(job.status.conditions, "Finished", "True", reason, message, now),
        }
        | changes
    )
