"""What a written status changed, for the metrics: pure."""

from datetime import datetime

from klipstream_api import AnalysisJobStatus, Attempt, Phase
from klipstream_operator.statuses import waiting_since


def ended_attempts(before: AnalysisJobStatus, after: AnalysisJobStatus) -> list[Attempt]:
    """The attempts that the write recorded as ended; one at most, as the lifecycle is."""
    over = {entry.attempt for entry in before.attempts if entry.finished_at is not None}
    return [entry for entry in after.attempts if entry.finished_at is not None and entry.attempt not in over]


def waits_again_since(before: AnalysisJobStatus, after: AnalysisJobStatus) -> datetime | None:
    """Since when a job that comes back to the backlog waits for its next slot; None for every other write.

    The delay of a retry is not waiting, and once it is over the status no longer tells when that was.
    """
    if after.phase is not Phase.QUEUED or before.phase is Phase.QUEUED:
        return None
    return before.next_attempt_at if before.phase is Phase.BACKING_OFF else waiting_since(after)


def waits_first_since(status: AnalysisJobStatus) -> datetime | None:
    """Since when a job waits that was not started since it was accepted, or replayed; None for a retry."""
    since = waiting_since(status)
    return since if since == status.queued_at else None
