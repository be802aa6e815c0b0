"""What a written status changed: read by metrics and events, pure."""

from datetime import datetime

from klipstream_api import AnalysisJobStatus, Attempt


def ended_attempts(before: AnalysisJobStatus, after: AnalysisJobStatus) -> list[Attempt]:
    """The attempts that the write recorded as ended; one at most, as the lifecycle is."""
    over = {entry.attempt for entry in before.attempts if entry.finished_at is not None}
    return [entry for entry in after.attempts if entry.finished_at is not None and entry.attempt not in over]


def waited_seconds(before: AnalysisJobStatus, started_at: datetime) -> float:
    """Seconds that a job waited for the slot it got: since it was accepted, or since its last retry was due.

    The delay of a retry is not waiting; an attempt that follows at once waits since the last one ended.
    """
    ends = (entry.finished_at for entry in before.attempts)
    moments = (before.queued_at, before.next_attempt_at, *ends)
    since = max((moment for moment in moments if moment is not None), default=started_at)
    return max(0.0, (started_at - since).total_seconds())
