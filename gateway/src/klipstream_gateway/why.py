"""Why a job has not started, and what can be done (pure)."""

from collections.abc import Iterator

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, QueueMode
from klipstream_api.meta import condition, rfc3339
from klipstream_gateway.answers import WaitReason


def why_waiting(job: AnalysisJob, queue: AnalysisQueue | None, position: int | None) -> tuple[WaitReason, ...]:
    """Every reason, the one that weighs most first; empty for a job that does not wait."""
    if job.status.phase not in (Phase.QUEUED, Phase.BACKING_OFF):
        return ()
    return tuple(WaitReason(code=code, message=message) for code, message in _reasons(job, queue, position))


def _reasons(job: AnalysisJob, queue: AnalysisQueue | None, position: int | None) -> Iterator[tuple[str, str]]:
    status = job.status
    if job.spec.cancel:
        yield "being-cancelled", "The job is being cancelled."
    if queue is None:
        held_up = condition(status.conditions, "CapacityAvailable")
        known = held_up is not None and held_up.status == "False" and held_up.message
        yield "no-queue", known or "No queue takes the job yet. It is taken as soon as there is one that does."
        return
    name = queue.metadata.name
    if queue.spec.mode is QueueMode.PAUSED:
        yield "queue-paused", f"The queue {name} is paused; jobs start once it is resumed."
    if status.phase is Phase.BACKING_OFF:
        due = f" at {rfc3339(status.next_attempt_at)}" if status.next_attempt_at is not None else ""
        yield "backing-off", f"The last attempt failed; the next one is due{due}."
        return
    if job.spec.not_before is not None and position is None:
        yield "not-due", f"The job was not to start before {rfc3339(job.spec.not_before)}."
        return
    ready = condition(queue.status.conditions, "Ready")
    if ready is not None and ready.status == "False":
        yield "queue-not-ready", ready.message or f"The queue {name} cannot start jobs."
    short = condition(status.conditions, "CapacityAvailable")
    if short is not None and short.status == "False":
        yield "no-capacity", short.message
    elif queue.status.capacity:
        yield "no-capacity", queue.status.capacity[0].message or "The cluster has no room at the moment."
    if position is not None and position > 1:
        yield "jobs-ahead", f"{position - 1} jobs with a higher priority, or submitted earlier, start first."
    limit, active = queue.spec.max_concurrent_jobs, queue.status.active
    if limit == 0:
        yield "no-slots", f"The queue {name} has no slots: max_concurrent_jobs is 0."
    elif active >= limit:
        yield "slots-taken", f"All {limit} slots of the queue {name} are taken."
    elif status.sequence is None:
        yield (
            "not-accepted-yet",
            "The operator has not accepted the job yet; that takes less than a second when it runs.",
        )
