"""Administrative operations: asked for by an annotation of the queue, acknowledged in its status (pure).

Each value of an annotation is acted on once. What clear and clear-stuck mean for a job follows from the time in the
acknowledgement, so that they survive a restart in the middle and need no list of jobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue, Operation, OperationName, Phase, names
from klipstream_api.analysisqueue import OPERATION_ANNOTATIONS, REQUEST_CHARACTERS
from klipstream_operator.statuses import waiting_since


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    count: int
    message: str
    refused: bool = False


def pending(queue: AnalysisQueue) -> dict[OperationName, str]:
    """Requests that were not acted on yet, by operation."""
    annotations = queue.metadata.annotations
    if not annotations:
        return {}
    known = {operation.name: operation.request for operation in queue.status.operations}
    asked = {
        name: annotations[annotation][:REQUEST_CHARACTERS]
        for name, annotation in OPERATION_ANNOTATIONS.items()
        if annotations.get(annotation)
    }
    return {name: request for name, request in asked.items() if known.get(name) != request}


def acknowledged(
    queue: AnalysisQueue, outcomes: Mapping[OperationName, Outcome], now: datetime
) -> tuple[Operation, ...]:
    """The queue's operations with those that were just acted on, or refused."""
    if not outcomes:
        return queue.status.operations
    asked = pending(queue)
    operations = {operation.name: operation for operation in queue.status.operations}
    for name, outcome in outcomes.items():
        before = operations.get(name) or Operation(name=name, request="")
        changes: dict[str, object] = {"request": asked[name], "message": outcome.message[:512]}
        if not outcome.refused:
            changes |= {"at": now, "count": outcome.count}
        operations[name] = before.model_copy(update=changes)
    return tuple(operations.values())


def last_done(queue: AnalysisQueue | None, name: OperationName) -> datetime | None:
    """When an operation was last carried out; None where it never was."""
    operations = queue.status.operations if queue is not None else ()
    return next((operation.at for operation in operations if operation.name is name), None)


def cleared(job: AnalysisJob, queue: AnalysisQueue | None) -> bool:
    """Whether a job waited when its queue was cleared; one that came back to the backlog later stays."""
    at = last_done(queue, OperationName.CLEAR)
    if at is None or job.status.phase not in (Phase.QUEUED, Phase.BACKING_OFF):
        return False
    since = waiting_since(job.status)
    return since is not None and since <= at


def confirm_clear(queue: AnalysisQueue, request: str) -> str | None:
    """Why a request to clear is refused; None where its first word is the queue's name, as the confirmation."""
    name = queue.metadata.name
    if request.split()[:1] == [name]:
        return None
    return (
        f"Refused: to cancel all waiting jobs, confirm with the queue's name:"
        f" kubectl annotate aq {name} --overwrite {names.CLEAR_ANNOTATION}={name}"
        f' (to clear it another time, add anything after the name: "{name} 2").'
    )
