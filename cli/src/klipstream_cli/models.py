"""Objects of the API server as models, for what needs estimates; importing this takes a moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_cli.errors import Exit, Forbidden, NotFound, Problem
from klipstream_cli.resources import ANALYSIS_JOBS, ANALYSIS_QUEUES, FINISHED
from klipstream_cli.session import Session
from klipstream_queueing.outlook import QueueOutlook
from klipstream_queueing.routing import route

UNFINISHED = ",".join(f"status.phase!={phase}" for phase in FINISHED)


def job_from(obj: dict[str, Any]) -> AnalysisJob:
    """Raises Problem for an object that this version cannot read."""
    try:
        return AnalysisJob.from_wire(obj)
    except ValidationError as error:
        raise Problem(f"AnalysisJob {obj['metadata']['name']} cannot be read by this version: {_first(error)}",
                      Exit.FAILED, "Update kubectl-analysis.") from error  # fmt: skip


def queue_from(obj: dict[str, Any]) -> AnalysisQueue:
    """Raises Problem for an object that this version cannot read."""
    try:
        return AnalysisQueue.from_wire(obj)
    except ValidationError as error:
        raise Problem(f"AnalysisQueue {obj['metadata']['name']} cannot be read by this version: {_first(error)}",
                      Exit.FAILED, "Update kubectl-analysis.") from error  # fmt: skip


def readable_jobs(objects: Iterable[dict[str, Any]]) -> list[AnalysisJob]:
    """Those that this version can read."""
    found = []
    for obj in objects:
        try:
            found.append(AnalysisJob.from_wire(obj))
        except ValidationError:
            continue
    return found


def readable_queues(objects: Iterable[dict[str, Any]]) -> list[AnalysisQueue]:
    """Those that this version can read."""
    found = []
    for obj in objects:
        try:
            found.append(AnalysisQueue.from_wire(obj))
        except ValidationError:
            continue
    return found


def queues_in(session: Session, namespace: str) -> list[AnalysisQueue] | None:
    """The queues of a namespace; None where the user may not read them."""
    try:
        return readable_queues(session.api.list(ANALYSIS_QUEUES, namespace)[0])
    except Forbidden:
        return None
    except NotFound:
        return []


def queue_name(job: AnalysisJob, queues: Iterable[AnalysisQueue]) -> str | None:
    """The queue that accepted the job, or that will."""
    return job.status.queue_name or route(job, queues)


def outlook(
    queue: AnalysisQueue, jobs: Iterable[AnalysisJob], queues: Iterable[AnalysisQueue], now: datetime
) -> QueueOutlook:
    """The outlook of a queue from all unfinished jobs of its namespace."""
    queues = list(queues)
    name, namespace = queue.metadata.name, queue.metadata.namespace
    own = {job.uid: job for job in jobs if job.metadata.namespace == namespace and queue_name(job, queues) == name}
    return QueueOutlook(queue, own, now)


def queue_outlook(
    session: Session, namespace: str, queue: AnalysisQueue, queues: Iterable[AnalysisQueue]
) -> QueueOutlook:
    """`outlook` of what the API server holds now."""
    objects, _ = session.api.list(ANALYSIS_JOBS, namespace, field_selector=UNFINISHED)
    return outlook(queue, readable_jobs(objects), queues, session.api.now())


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
