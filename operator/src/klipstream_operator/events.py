"""Which Kubernetes events a written status is worth: pure, decided from what was before and what is now.

One event per transition, none for progress. Reasons are the transitions in CamelCase; notes say what happened and,
where a person is needed, what to do.
"""

from dataclasses import dataclass

from klipstream_api import (
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    AnalysisQueueStatus,
    Attempt,
    QueueMode,
    StopReason,
)
from klipstream_api.meta import condition, rfc3339
from klipstream_operator.transitions import Transition

NOTE_BYTES = 1024
"""The API server's bound."""


@dataclass(frozen=True, slots=True)
class Event:
    """What is announced. `repeats` are transitions that may flicker: they are announced at most once a minute."""

    reason: str
    note: str
    warning: bool = False
    repeats: bool = False


def cut(note: str) -> str:
    """A note within the API server's bound, whole characters only."""
    encoded = note.encode()
    if len(encoded) <= NOTE_BYTES:
        return note
    return encoded[: NOTE_BYTES - len("…".encode())].decode(errors="ignore") + "…"


# --- AnalysisJobs ------------------------------------------------------------------------------------------------

_WARNINGS = frozenset(
    {
        Transition.HELD_UP, Transition.REJECTED, Transition.RETURNED, Transition.RETRYING, Transition.DEAD_LETTERED,
        Transition.CLEARED, Transition.REPLAY_REFUSED,
    }
)  # fmt: skip


def job_event(job: AnalysisJob, after: AnalysisJobStatus, transition: Transition) -> Event | None:
    """The event of a written status; `job` is what it replaced."""
    if transition in (Transition.PROGRESS, Transition.LOG_ARCHIVED):
        return None
    unasked = (
        transition is Transition.STOPPING and after.stop is not None and after.stop.reason is not StopReason.CANCEL
    )
    reason = transition.name.title().replace("_", "")
    return Event(reason, _note(job, after, transition), warning=unasked or transition in _WARNINGS)


def _note(job: AnalysisJob, after: AnalysisJobStatus, transition: Transition) -> str:
    last = after.attempts[-1] if after.attempts else None
    match transition:
        case Transition.HELD_UP:
            return f"{_reason(after, 'CapacityAvailable')}: {_message(after, 'CapacityAvailable')}"
        case Transition.ACCEPTED:
            return f"Queue {after.queue_name} took the job with priority {job.spec.priority}."
        case Transition.AGED:
            return f"The job waits with priority {after.effective_priority or job.spec.priority} now."
        case Transition.STARTED | Transition.RESUMED:
            return f"Attempt {after.attempt} got a slot; its Kubernetes Job is {last.job_name if last else ''}."
        case Transition.RUNNING | Transition.PROGRESS:
            return f"Attempt {after.attempt} runs."
        case Transition.LOG_ARCHIVED:
            return (last.log_url if last else None) or ""
        case Transition.SUPERSEDED:
            return (last.message if last else None) or "Another attempt takes over."
        case Transition.STOPPING:
            stop = after.stop
            return f"Attempt {stop.attempt} is ended: {stop.reason} {stop.detail}. {stop.message}" if stop else ""
        case Transition.RETURNED:
            return _message(after, "CapacityAvailable") or f"Attempt {after.attempt} gave its slot back."
        case Transition.RETRYING:
            due = after.next_attempt_at
            when = f"is due at {rfc3339(due)}" if due is not None else "starts as soon as a slot is free"
            return f"The next attempt {when}. {_failure(last)}"
        case Transition.RETRY_DUE:
            return f"The job waits for attempt {after.attempt + 1}."
        case Transition.REPLAYED:
            return "spec.replay was raised: the job waits again, at the end of its priority."
        case Transition.REPLAY_REFUSED:
            return _message(after, "DeadLettered")
        case Transition.SUCCEEDED:
            where = f" Results: {after.result_url}" if after.result_url else ""
            return _message(after, "Finished") + where
        case Transition.CANCELLED | Transition.CLEARED:
            return _message(after, "Finished")
        case Transition.REJECTED | Transition.DEAD_LETTERED:
            return f"{_reason(after, 'Finished')}: {_message(after, 'Finished')}"


def _failure(attempt: Attempt | None) -> str:
    if attempt is None:
        return ""
    kind = f"{attempt.failure_class or 'Unknown'}, {attempt.reason or 'no reason'}"
    return f"Attempt {attempt.attempt} failed ({kind}): {attempt.message or ''}"


def _message(status: AnalysisJobStatus, type_: str) -> str:
    found = condition(status.conditions, type_)
    return found.message if found is not None else ""


def _reason(status: AnalysisJobStatus, type_: str) -> str:
    found = condition(status.conditions, type_)
    return found.reason if found is not None else ""


# --- AnalysisQueues ----------------------------------------------------------------------------------------------

_CONDITIONS = {
    ("Full", "True"): ("Full", True),
    ("Full", "False"): ("HasRoom", False),
    ("Drained", "True"): ("Drained", False),
    ("Ready", "False"): ("NotReady", True),
    ("Ready", "True"): ("Ready", False),
}
"""Reason, and whether it is a warning, of a condition that turned."""


def mode_event(mode: QueueMode) -> Event:
    """The event of a queue whose mode was changed."""
    notes = {
        QueueMode.RUNNING: "Jobs are taken and started.",
        QueueMode.PAUSED: "Jobs are taken; none is started until the mode is Running again.",
        QueueMode.DRAINING: "New jobs are refused; the accepted ones are being finished.",
    }
    return Event(mode.value, f"The mode was set to {mode.value}. {notes[mode]}")


def queue_events(queue: AnalysisQueue, after: AnalysisQueueStatus) -> list[Event]:
    """The events of a written status; `queue` is what it replaced."""
    return [*_turned(queue.status, after), *_capacity(queue.status, after), *_administration(queue.status, after)]


def _turned(before: AnalysisQueueStatus, after: AnalysisQueueStatus) -> list[Event]:
    events = []
    for new in after.conditions:
        old = condition(before.conditions, new.type)
        known = _CONDITIONS.get((new.type, new.status))
        # What was never said before is news only where it is not the ordinary state.
        if known is None or (old.status == new.status if old is not None else new.status == _usual(new.type)):
            continue
        reason, warning = known
        events.append(Event(reason, new.message, warning, repeats=new.type == "Full"))
    return events


def _usual(type_: str) -> str:
    return "True" if type_ == "Ready" else "False"


def _capacity(before: AnalysisQueueStatus, after: AnalysisQueueStatus) -> list[Event]:
    old, new = ({shortage.shape: shortage for shortage in status.capacity} for status in (before, after))
    began = [
        Event("CapacityShortage", f"The cluster has no room for jobs of size {shape}: {shortage.message}", warning=True)
        for shape, shortage in new.items()
        if shape not in old
    ]
    ended = [
        Event("CapacityAvailable", f"The cluster has room for jobs of size {shape} again.")
        for shape in old
        if shape not in new
    ]
    return began + ended


def _administration(before: AnalysisQueueStatus, after: AnalysisQueueStatus) -> list[Event]:
    asked = {(operation.name, operation.request) for operation in before.operations}
    events = [
        Event(operation.name.value, f"Asked for with {operation.request!r}: {operation.message}")
        for operation in after.operations
        if (operation.name, operation.request) not in asked
    ]
    states = {(replay.fingerprint, replay.requested_at): replay.state for replay in before.replays}
    events += [
        Event(f"GroupReplay{replay.state.value}", f"Group {replay.fingerprint}: {replay.message}")
        for replay in after.replays
        if states.get((replay.fingerprint, replay.requested_at)) is not replay.state
    ]
    return events
