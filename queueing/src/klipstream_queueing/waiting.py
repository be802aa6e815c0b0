"""Why a job has not started, in words for people and codes for programs: the same in the REST API, on the dashboard and
at the command line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, QueueMode
from klipstream_api.meta import condition
from klipstream_queueing.order import priority_of
from klipstream_queueing.slots import kept_for_higher

ACCEPTED_WITHIN_SECONDS = 30.0
"""An operator that runs accepts a job within a second; much later there is none."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason; its code does not change."""

    code: str
    message: str


def reasons(
    job: AnalysisJob, queue: AnalysisQueue | None, position: int | None, now: datetime, when: Callable[[datetime], str]
) -> tuple[Reason, ...]:
    """Every reason, the one that weighs most first; empty for a job that does not wait.

    `position` is 1 for the first in line, None for one that is in none. `when` tells a moment, such as "at 14:05".
    """
    if job.status.phase not in (Phase.QUEUED, Phase.BACKING_OFF):
        return ()
    return tuple(Reason(code, message) for code, message in _reasons(job, queue, position, now, when))


def _reasons(
    job: AnalysisJob, queue: AnalysisQueue | None, position: int | None, now: datetime, when: Callable[[datetime], str]
) -> Iterator[tuple[str, str]]:
    status = job.status
    short = condition(status.conditions, "CapacityAvailable")
    held_up = short.message if short is not None and short.status == "False" else None
    if job.spec.cancel:
        yield "being-cancelled", "It is being cancelled."
    if queue is None:
        yield "no-queue", held_up or "No queue takes it yet. It is taken as soon as there is one that does."
        return
    name = queue.metadata.name
    if queue.spec.mode is QueueMode.PAUSED:
        yield "queue-paused", f"The queue {name} is paused; jobs start once it is resumed."
    if status.phase is Phase.BACKING_OFF:
        due = status.next_attempt_at
        moment = when(due) if due is not None and due > now else "now"
        last = (status.attempts[-1].message if status.attempts else None) or "no message"
        yield "backing-off", f"Attempt {status.attempt} failed ({last}); the next one is due {moment}."
        return
    if job.spec.not_before is not None and job.spec.not_before > now:
        yield "not-due", f"It was not to start earlier; it is due {when(job.spec.not_before)}."
        return
    ready = condition(queue.status.conditions, "Ready")
    if ready is not None and ready.status == "False":
        yield "queue-not-ready", ready.message or f"The queue {name} cannot start jobs."
    if held_up is not None:
        yield "no-capacity", held_up
    elif queue.status.capacity:
        shortage = queue.status.capacity[0]
        yield "no-capacity", f"The cluster has no room: {shortage.message or ', '.join(shortage.missing)}"
    if position is not None and position > 1:
        ahead = "1 job" if position == 2 else f"{position - 1} jobs"
        starts = "starts" if position == 2 else "start"
        yield "jobs-ahead", f"{ahead} with a higher priority, or submitted earlier, {starts} first."
    limit, active = queue.spec.max_concurrent_jobs, queue.status.active
    # What higher priorities hold of it already is not seen from here.
    kept_at_most = kept_for_higher(priority_of(job).value_number, queue.spec.reserved_slots, active={})
    if limit == 0:
        yield "no-slots", f"The queue {name} has no slots: its limit is 0."
    elif active >= limit:
        taken = "The only slot" if limit == 1 else f"All {limit} slots"
        yield "slots-taken", f"{taken} of the queue {name} {'is' if limit == 1 else 'are'} taken."
    elif status.sequence is None:
        yield _not_accepted(job, now)
    elif position == 1 and limit - active <= kept_at_most:
        yield "slots-reserved", f"The free slots of the queue {name} are kept for higher priorities."
    elif position == 1 and held_up is None:
        yield "next", "It is the next to start."


def _not_accepted(job: AnalysisJob, now: datetime) -> tuple[str, str]:
    created = job.metadata.creation_timestamp
    waited = (now - created).total_seconds() if created is not None else 0.0
    if waited <= ACCEPTED_WITHIN_SECONDS:
        return "not-accepted-yet", "The operator has not accepted it yet; that takes less than a second where it runs."
    return "no-operator", f"No operator has accepted it for {waited:.0f} s: is one running?"
