"""Why a job has not started, in sentences that say what to do (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, QueueMode
from klipstream_api.meta import condition
from klipstream_cli.times import span


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: a code for programs (those of the REST API), a sentence, and a command that may help."""

    code: str
    message: str
    command: str = ""


def reasons(job: AnalysisJob, queue: AnalysisQueue | None, position: int | None, now: datetime) -> list[Reason]:
    """Every reason, the one that weighs most first; empty for a job that does not wait."""
    if job.status.phase not in (Phase.QUEUED, Phase.BACKING_OFF):
        return []
    return list(_reasons(job, queue, position, now))


def _reasons(job: AnalysisJob, queue: AnalysisQueue | None, position: int | None, now: datetime) -> Iterator[Reason]:
    status, name = job.status, job.metadata.name
    if job.spec.cancel:
        yield Reason("being-cancelled", "It is being cancelled.")
    if queue is None:
        held = condition(status.conditions, "CapacityAvailable")
        known = held.message if held is not None and held.status == "False" else ""
        yield Reason("no-queue", known or "No queue takes it yet. It is taken as soon as there is one that does.",
                     "kubectl analysis queue list")  # fmt: skip
        return
    here = queue.metadata.name
    if queue.spec.mode is QueueMode.PAUSED:
        yield Reason("queue-paused", f"The queue {here} is paused.", f"kubectl analysis queue resume {here}")
    if status.phase is Phase.BACKING_OFF:
        due = status.next_attempt_at
        when = f" in {span((due - now).total_seconds())}" if due is not None and due > now else " now"
        last = status.attempts[-1].message if status.attempts else None
        said = f"Attempt {status.attempt} failed ({last or 'no message'}); the next one is due{when}."
        yield Reason("backing-off", said, f"kubectl analysis logs {name}")
        return
    if job.spec.not_before is not None and job.spec.not_before > now:
        yield Reason("not-due", f"It is not to start before {job.spec.not_before.astimezone():%Y-%m-%d %H:%M:%S %Z}.")
        return
    ready = condition(queue.status.conditions, "Ready")
    if ready is not None and ready.status == "False":
        yield Reason("queue-not-ready", ready.message or f"The queue {here} cannot start jobs.",
                     f"kubectl analysis queue status {here}")  # fmt: skip
    short = condition(status.conditions, "CapacityAvailable")
    if short is not None and short.status == "False":
        yield Reason("no-capacity", short.message)
    elif queue.status.capacity:
        shortage = queue.status.capacity[0]
        yield Reason("no-capacity", f"The cluster has no room: {shortage.message or ', '.join(shortage.missing)}")
    if position is not None and position > 1:
        jobs = "1 job" if position == 2 else f"{position - 1} jobs"
        yield Reason("jobs-ahead", f"{jobs} with a higher priority, or submitted earlier, "
                     f"start{'s' if position == 2 else ''} first.")  # fmt: skip
    limit, active = queue.spec.max_concurrent_jobs, queue.status.active
    if limit == 0:
        yield Reason("no-slots", f"The queue {here} has no slots.",
                     f"kubectl analysis queue config {here} --max-concurrent-jobs 3")  # fmt: skip
    elif active >= limit:
        yield Reason("slots-taken", f"{'The only slot' if limit == 1 else f'All {limit} slots'} of the queue {here} "
                     f"{'is' if limit == 1 else 'are'} taken.")  # fmt: skip
    elif status.sequence is None:
        waited = (now - job.metadata.creation_timestamp).total_seconds() if job.metadata.creation_timestamp else 0.0
        if waited > 30:
            yield Reason("no-operator", f"No operator has accepted it for {span(waited)}: is one running?",
                         "kubectl analysis doctor")  # fmt: skip
        else:
            yield Reason("not-accepted-yet", "The operator has not accepted it yet; that takes a moment.")
    elif position == 1 and not (short is not None and short.status == "False"):
        yield Reason("next", "It is the next to start.")
