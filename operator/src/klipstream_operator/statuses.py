"""The statuses of an AnalysisJob, one function per transition: pure, the time is an argument."""

from datetime import datetime, timedelta

from klipstream_api import (
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    Attempt,
    FailureClass,
    Phase,
    Stage,
    attempt_job_name,
)
from klipstream_api.meta import with_condition
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator.failures import INFRASTRUCTURE_LOSSES_AT_MOST, Failure, worker_report
from klipstream_operator.limits import limits_of
from klipstream_operator.workload import PodView

ATTEMPTS_KEPT = 5


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
