"""Which changes of an AnalysisJob webhooks announce."""

from enum import StrEnum


class WebhookEvent(StrEnum):
    """The type of a webhook."""

    QUEUED = "job.queued"
    STARTED = "job.started"
    PROGRESS = "job.progress"
    RETRYING = "job.retrying"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    REJECTED = "job.rejected"
    DELETED = "job.deleted"


FINAL_EVENTS = frozenset(
    {
        WebhookEvent.SUCCEEDED,
        WebhookEvent.FAILED,
        WebhookEvent.CANCELLED,
        WebhookEvent.REJECTED,
        WebhookEvent.DELETED,
    }
)
"""What ends a job; only a replay of a failed one is announced after one of these."""
