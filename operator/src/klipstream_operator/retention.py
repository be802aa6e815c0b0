"""How long a finished job is kept: pure, from what its status and its queue say."""

from datetime import datetime, timedelta

from klipstream_api import FINISHED_PHASES, AnalysisJob, AnalysisQueue, Phase
from klipstream_api.analysisqueue import Retention

ANNOUNCEMENT_GRACE = timedelta(days=1)
"""How much longer a job is kept at most until the webhook relay says that its end was announced."""
STORE_GRACE = timedelta(days=1)
"""How much longer a job is kept at most while its archived logs cannot be removed."""


def retention_of(queue: AnalysisQueue | None) -> Retention:
    """The retention of a queue; the documented defaults where it was deleted, or where none accepted the job."""
    return Retention() if queue is None else queue.spec.retention


def has_endpoints(job: AnalysisJob, queue: AnalysisQueue | None) -> bool:
    """Whether anybody is told of the job's end: the relay then says when that was done."""
    return job.spec.callback is not None or (queue is not None and bool(queue.spec.endpoints))


def purge_at(job: AnalysisJob, queue: AnalysisQueue | None) -> datetime | None:
    """When a job is to be purged, None while it is not finished for good.

    Failed jobs are kept for failedSeconds; Succeeded, Cancelled and Rejected ones, which nobody has to look into,
    for succeededSeconds. Where endpoints are to be told, a job is kept for one more day until they were.
    """
    status = job.status
    if status.phase not in FINISHED_PHASES or status.finished_at is None:
        return None
    if job.metadata.deletion_timestamp is not None:
        return None
    if status.phase is Phase.FAILED and job.spec.replay > status.observed_replay:
        return None
    retention = retention_of(queue)
    seconds = retention.failed_seconds if status.phase is Phase.FAILED else retention.succeeded_seconds
    due = status.finished_at + timedelta(seconds=seconds)
    return due if not has_endpoints(job, queue) or _announced(job) else due + ANNOUNCEMENT_GRACE


def _announced(job: AnalysisJob) -> bool:
    """Whether this end was announced and not only the one before a replay; clients may write whole seconds."""
    announced_at, finished_at = job.status.announced_at, job.status.finished_at
    return announced_at is not None and finished_at is not None and announced_at >= finished_at.replace(microsecond=0)


def may_have_logs(job: AnalysisJob) -> bool:
    """Whether logs of failed attempts may be archived: one is named, or was written just before a crash.

    Only the last attempts stand in the status; of those before nothing is known.
    """
    entries = job.status.attempts
    return len(entries) < job.status.attempt or any(entry.failure_class or entry.log_url for entry in entries)
