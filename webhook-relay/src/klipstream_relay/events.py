"""What the state of an AnalysisJob announces: pure, from its status alone.

Nothing depends on having seen a change: whatever happened can be told from the status afterwards, with the same id and
the same content. So a relay that was away, or that lost its ledger, announces what it missed.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from klipstream_api import FINISHED_PHASES, AnalysisJob, Attempt, Phase, Stage, WebhookEvent, guide_status

_FINAL = {
    Phase.SUCCEEDED: WebhookEvent.SUCCEEDED,
    Phase.FAILED: WebhookEvent.FAILED,
    Phase.CANCELLED: WebhookEvent.CANCELLED,
    Phase.REJECTED: WebhookEvent.REJECTED,
}
_STATUS = {
    WebhookEvent.QUEUED: guide_status(Phase.QUEUED),
    WebhookEvent.STARTED: guide_status(Phase.STARTING),
    WebhookEvent.PROGRESS: guide_status(Phase.RUNNING),
    WebhookEvent.RETRYING: guide_status(Phase.BACKING_OFF),
    WebhookEvent.DELETED: "deleted",
} | {event: guide_status(phase) for phase, event in _FINAL.items()}


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something that happened to a job, in the words of the guide."""

    event: WebhookEvent
    id: str
    """The webhook-id."""
    at: datetime
    """When it happened."""
    sequence: int
    """Rises with every announcement of the job: milliseconds since 1970, or one more than the one before."""
    attempt: int
    """The attempt that it is about, 0 before the first."""
    percentage: float
    stage: str
    estimated_completion_seconds: float | None = None

    @property
    def status(self) -> str:
        """The guide's word for where the job stood."""
        return _STATUS[self.event]


def webhook_id(uid: str, event: WebhookEvent, occurrence: str) -> str:
    """The id of an announcement, from what makes it the one that it is.

    An attempt starts, is retried and ends once, and each acceptance and each replay gives a job a place of its own in
    the queue's order; so the attempt, or that place, tells two of a kind apart. (The number of replays would not do: a
    replay that is refused counts as well.)
    """
    return "msg_" + hashlib.sha256(f"{uid}\n{event}\n{occurrence}".encode()).hexdigest()[:32]


def history(job: AnalysisJob) -> tuple[Announcement, ...]:
    """Everything but progress that the status shows to have happened since the job was queued last, in order.

    With it the failure before a replay, unless that was announced. Of attempts only the last five stand in the status.
    """
    status, uid = job.status, job.uid
    found: list[Announcement] = []

    def add(event: WebhookEvent, at: datetime, attempt: int, occurrence: int, percentage: float, stage: str) -> None:
        floor = found[-1].sequence + 1 if found else 0
        found.append(
            Announcement(
                event, webhook_id(uid, event, str(occurrence)), at, max(milliseconds(at), floor), attempt,
                percentage, stage,
            )
        )  # fmt: skip

    if (before := _failure_before_replay(job)) is not None and before.finished_at is not None:
        add(WebhookEvent.FAILED, before.finished_at, before.attempt, before.attempt, 0.0, Stage.QUEUED)
    attempts = [each for each in status.attempts if _of_this_life(job, each)]
    if status.queue_name is not None and status.queued_at is not None and status.phase is not Phase.REJECTED:
        attempt = attempts[0].attempt - 1 if attempts else status.attempt
        add(WebhookEvent.QUEUED, status.queued_at, attempt, status.sequence or 0, 0.0, Stage.QUEUED)
    for each in attempts:
        if each.started_at is not None:
            add(WebhookEvent.STARTED, each.started_at, each.attempt, each.attempt, 0.0, Phase.STARTING)
        last = each.attempt == status.attempt
        failed_for_good = last and status.phase is Phase.FAILED
        if each.failure_class is not None and each.finished_at is not None and not failed_for_good:
            add(WebhookEvent.RETRYING, each.finished_at, each.attempt, each.attempt, *reached(job, each.attempt))
    if status.phase in FINISHED_PHASES and status.finished_at is not None:
        where = reached(job, status.attempt)
        if status.phase is Phase.SUCCEEDED:
            where = (100.0, Stage.COMPLETED.value)
        add(_FINAL[status.phase], status.finished_at, status.attempt, status.attempt, *where)
    return tuple(found)


def progress(job: AnalysisJob, now: datetime, interval: timedelta) -> Announcement | None:
    """How far the running attempt is; None while none runs.

    The first one of a post has the time of the post. Without news there is another one per interval: a beat. Its
    sequence comes one thousandth of a second after the one before, and not from a clock of ours, which might be ahead
    of the operator's: then the job's end could seem to come before it.
    """
    status = job.status
    if status.phase is not Phase.RUNNING:
        return None
    posted = status.progress if status.progress is not None and status.progress.attempt == status.attempt else None
    since = posted.updated_at if posted is not None else status.started_at
    if since is None:
        return None
    beat = max(0, (now - since) // interval)
    earlier = history(job)
    floor = earlier[-1].sequence + 1 if earlier else 0
    sequence = max(milliseconds(since), floor) + beat
    left = posted.estimated_completion_seconds if posted is not None else None
    percentage, stage = reached(job, status.attempt)
    return Announcement(
        WebhookEvent.PROGRESS,
        webhook_id(job.uid, WebhookEvent.PROGRESS, f"{status.attempt}.{sequence}"),
        since + beat * interval,
        sequence,
        status.attempt,
        percentage,
        stage,
        None if left is None else max(0.0, left - beat * interval.total_seconds()),
    )


def next_beat(job: AnalysisJob, now: datetime, interval: timedelta) -> datetime:
    """When `progress` will have something new to say without a post."""
    current = progress(job, now, interval)
    return (current.at if current is not None else now) + interval


def deletion(uid: str, attempt: int, sequence: int, now: datetime) -> Announcement:
    """The job was deleted before it was finished; `sequence` is that of its last announcement."""
    identity = webhook_id(uid, WebhookEvent.DELETED, "")
    return Announcement(
        WebhookEvent.DELETED, identity, now, max(milliseconds(now), sequence + 1), attempt, 0.0, Stage.QUEUED
    )


def is_announced(job: AnalysisJob) -> bool:
    """Whether this end of the job was announced, and not only the one before a replay."""
    status = job.status
    if status.phase not in FINISHED_PHASES or status.finished_at is None or status.announced_at is None:
        return False
    return status.announced_at >= status.finished_at


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1000)


def reached(job: AnalysisJob, attempt: int) -> tuple[float, str]:
    """Percentage and stage of an attempt as far as they are known; the phase stands for a stage that nobody named."""
    progress = job.status.progress
    if progress is not None and progress.attempt == attempt:
        return progress.percentage, progress.stage
    running = job.status.phase is Phase.RUNNING and attempt == job.status.attempt
    return 0.0, Phase.RUNNING.value if running else Stage.QUEUED.value


def _of_this_life(job: AnalysisJob, attempt: Attempt) -> bool:
    """Whether the attempt was begun after the job was queued last, that is after the last replay."""
    queued_at, started_at = job.status.queued_at, attempt.started_at
    return queued_at is None or started_at is None or started_at >= queued_at


def _failure_before_replay(job: AnalysisJob) -> Attempt | None:
    """The attempt that made the job fail before its last replay, if that was not announced."""
    if job.status.observed_replay == 0:
        return None
    earlier = [each for each in job.status.attempts if not _of_this_life(job, each)]
    last = earlier[-1] if earlier else None
    if last is None or last.failure_class is None or last.finished_at is None:
        return None
    announced_at = job.status.announced_at
    told = announced_at is not None and announced_at >= last.finished_at
    return None if told else last
