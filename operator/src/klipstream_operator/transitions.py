"""Every transition of an AnalysisJob: what leads from which phase to which. The documentation is made from it."""

from dataclasses import dataclass
from enum import Enum

from klipstream_api import Phase

_WAITING = (Phase.QUEUED,)
_HELD = (Phase.QUEUED, Phase.BACKING_OFF)
_ACTIVE = (Phase.STARTING, Phase.RUNNING)


@dataclass(frozen=True, slots=True)
class Arrow:
    """Where a transition may begin and end, and what triggers it."""

    before: tuple[Phase, ...]
    after: tuple[Phase, ...]
    trigger: str
    writes: str = "status"
    """What is written to the API server for it."""


class Transition(Enum):
    """The transitions by name; every status write of the operator is one of them."""

    HELD_UP = Arrow(_WAITING, _WAITING, "no queue takes the submission yet; the condition CapacityAvailable says why")
    ACCEPTED = Arrow(_WAITING, _WAITING, "its queue takes the submission and gives it a sequence")
    REJECTED = Arrow(
        _WAITING, (Phase.REJECTED,), "the queue is full or draining, or the job asks for more than the queue allows"
    )
    AGED = Arrow(_WAITING, _WAITING, "the queue has aging, and the job waited long enough to rise")
    STARTED = Arrow(
        _WAITING, (Phase.STARTING,), "it comes first and a slot is free", "reservation (shared), Job, status"
    )
    RESUMED = Arrow(
        _WAITING,
        (Phase.STARTING,),
        "an attempt that had found no node gets a slot again",
        "reservation (shared), Job, status",
    )
    SUPERSEDED = Arrow(
        _WAITING,
        _WAITING,
        "resources or worker template changed since the attempt found no node, or its Job was deleted:"
        " a new attempt takes over",
    )
    RUNNING = Arrow(
        (Phase.STARTING,), (Phase.RUNNING,), "the worker posts progress, or its container has run for 5 seconds"
    )
    PROGRESS = Arrow((Phase.RUNNING,), (Phase.RUNNING,), "the worker posts something new; at most once in 5 seconds")
    STOPPING = Arrow(
        _ACTIVE, _ACTIVE, "cancelled with a grace, stalled, stuck, cannot start, or finds no node", "status, then Job"
    )
    RETURNED = Arrow(
        _ACTIVE,
        _WAITING,
        "its pod found no node: the slot was given back, no retry is used up",
        "queue (shared), status",
    )
    SUCCEEDED = Arrow(_ACTIVE, (Phase.SUCCEEDED,), "the worker ended with exit code 0", "status, queue (shared)")
    RETRYING = Arrow(
        _ACTIVE,
        (Phase.BACKING_OFF, Phase.QUEUED),
        "the attempt failed and another one follows (at once after the first loss to the infrastructure)",
        "status, queue (shared)",
    )
    DEAD_LETTERED = Arrow(
        (*_ACTIVE, Phase.QUEUED),
        (Phase.FAILED,),
        "the attempt failed for good: permanent, no retry left, or its Job is refused",
        "status, queue (shared)",
    )
    RETRY_DUE = Arrow((Phase.BACKING_OFF,), _WAITING, "nextAttemptAt has come; the sequence is the old one")
    CANCELLED = Arrow((*_HELD, *_ACTIVE), (Phase.CANCELLED,), "spec.cancel is true and nothing of it runs any more")
    CLEARED = Arrow(_HELD, (Phase.CANCELLED,), "the queue was cleared while the job waited")
    REPLAYED = Arrow((Phase.FAILED,), _WAITING, "spec.replay was raised; it takes a new sequence")
    REPLAY_REFUSED = Arrow((Phase.FAILED,), (Phase.FAILED,), "spec.replay was raised while the queue is draining")

    @property
    def label(self) -> str:
        """The name as logs and documentation show it, such as "retry due"."""
        return self.name.lower().replace("_", " ")

    def allows(self, before: Phase, after: Phase) -> bool:
        """Whether the transition may lead from one phase to the other; one that stays stays."""
        arrow = self.value
        if before not in arrow.before or after not in arrow.after:
            return False
        return self is not Transition.STOPPING or before is after


def table() -> str:
    """The transitions as a Markdown table, for docs/transitions.md."""
    rows = ["| transition | from | to | when | writes |", "|---|---|---|---|---|"]
    for transition in Transition:
        arrow = transition.value
        before = ", ".join(arrow.before)
        after = "the same" if transition is Transition.STOPPING else ", ".join(arrow.after)
        rows.append(f"| {transition.label} | {before} | {after} | {arrow.trigger} | {arrow.writes} |")
    return "\n".join(rows) + "\n"
