"""What the API answers. Fields that a newer gateway adds are ignored."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Priority(StrEnum):
    """A higher one starts first; within one, the order of submission decides."""

    URGENT = "URGENT"
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself; a failed job can be retried."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED, State.REJECTED)


class Answer(BaseModel):
    """An answer of the API."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(Answer):
    """How far the current or last attempt is."""

    percentage: float
    current_stage: str
    estimated_completion_seconds: float | None = None


class Range(Answer):
    """Seconds from now: half of the jobs need less than p50, nine in ten less than p90."""

    p50_seconds: float
    p90_seconds: float


class Estimate(Answer):
    """When a job starts and finishes; `basis` and `samples` say how much that is worth."""

    start: Range | None = None
    finish: Range | None = None
    basis: str
    samples: int


class WhatIf(Answer):
    """Where a job would be at another priority."""

    priority: Priority
    position: int | None = None
    estimate: Estimate | None = None


class Failure(Answer):
    """Why the last attempt failed."""

    failure_class: str | None = None
    reason: str | None = None


class JobStatus(Answer):
    """The state of a job, which anybody who knows the id may see."""

    job_id: str
    video_id: str | None = None
    status: State
    priority: Priority
    queue: str | None = None
    progress: Progress
    position: int | None = None
    estimated_wait_seconds: float | None = None
    estimate: Estimate | None = None
    attempt: int
    failure: Failure | None = None
    created_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    what_if: WhatIf | None = None


class Attempt(Answer):
    """One run of the worker."""

    attempt: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure_class: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    message: str | None = None


class WaitReason(Answer):
    """One reason why a job has not started."""

    code: str
    message: str


class Job(JobStatus):
    """A job with all that its owner may know of it."""

    reference: str | None = None
    video_url: str | None = None
    type: str | None = None
    params: dict[str, str] = {}
    tenant: str | None = None
    submitted_by: str | None = None
    attempts: tuple[Attempt, ...] = ()
    why_waiting: tuple[WaitReason, ...] = ()
    message: str | None = None
    result_url: str | None = None
    failure_fingerprint: str | None = None


class JobPage(Answer):
    """Jobs, the latest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = None


class Submitted(Answer):
    """A job that was taken."""

    job_id: str
    status: State
    queue: str | None = None
    priority: Priority
    position: int | None = None
    estimated_wait_seconds: float | None = None
    estimate: Estimate | None = None
    created_at: datetime | None = None


class QueueFigures(Answer):
    """Figures of one queue, or of several together."""

    state: str
    queue_length: int
    active_jobs: int
    active_workers: int
    max_workers: int
    max_queue_size: int
    utilization_percent: float
    queue_utilization_percent: float
    retrying_jobs: int
    dead_letters: int
    queued_by_priority: dict[Priority, int]
    estimated_wait_seconds: float | None = None


class Queue(QueueFigures):
    """One queue."""

    name: str
    drained: bool
    message: str | None = None


class QueueStatus(QueueFigures):
    """All queues together, and one by one."""

    queues: tuple[Queue, ...]


class Performance(Answer):
    """Counts since the queues exist; times in seconds."""

    total_jobs_processed: int
    total_jobs_failed: int
    total_jobs_retried: int
    average_processing_time: float
    uptime_seconds: int


class QueueMetrics(Answer):
    """The guide's metrics."""

    queue_length: int
    active_jobs: int
    active_workers: int
    max_workers: int
    utilization_percent: float
    queue_utilization_percent: float
    performance: Performance


class Act(Answer):
    """What became of an administrative act in one queue."""

    queue: str
    state: str
    acknowledged: bool
    count: int | None = None
    message: str


class Acts(Answer):
    """What became of an administrative act, queue by queue."""

    operation: str
    queues: tuple[Act, ...]


class QueueConfig(Answer):
    """The limits of a queue."""

    queue: str
    max_concurrent_jobs: int
    max_queue_size: int
    timeout_seconds: int
    max_retries: int
    retry_delays_seconds: tuple[int, ...]
