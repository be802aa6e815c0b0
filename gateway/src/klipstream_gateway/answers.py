"""What the API answers. Fields and names of the guide stand as the guide has them; more are added beside them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from klipstream_api import FailureClass, OperationName, Priority, QueueMode, ReplayState
from klipstream_api.meta import rfc3339
from klipstream_gateway.problems import ProblemBody, ProblemDescription
from klipstream_queueing.outlook import Basis

Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
Percent = Annotated[float, Field(ge=0, le=100)]


class ApiModel(BaseModel):
    """An answer: every field is there, null where nothing can be said."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class JobState(StrEnum):
    """Where a job stands, in the guide's words."""

    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class ProgressView(ApiModel):
    """How far the current or last attempt is."""

    percentage: Percent
    """0 to 100, never falling within an attempt."""
    current_stage: str
    """Queued, Downloading, Transcribing, Analyzing, Finding Highlights, Completed, or a stage of the worker's own."""
    estimated_completion_seconds: Annotated[float, Field(ge=0)] | None
    """Seconds until the attempt is done: the worker's own estimate, else what is usual."""


class Range(ApiModel):
    """Seconds from now: half of the jobs need less than p50, nine in ten less than p90."""

    p50_seconds: Annotated[float, Field(ge=0)]
    p90_seconds: Annotated[float, Field(ge=0)]


class Estimate(ApiModel):
    """When the job starts and finishes, by simulating the queue's slots."""

    start: Range | None
    """Null where nothing starts: the queue is paused, or has no slots."""
    finish: Range | None
    basis: Basis
    """history: at least five runs of this type. few-runs: fewer, or of other types. timeout: none yet, so the queue's
    time limit stands in, which is an upper bound."""
    samples: Annotated[int, Field(ge=0)]
    """Runs that the estimate rests on."""


class WhatIf(ApiModel):
    """Where the job would be at another priority. Nothing is changed by asking."""

    priority: Priority
    position: Annotated[int, Field(ge=1)] | None
    """Null where the job does not wait."""
    estimate: Estimate | None


class FailureView(ApiModel):
    """Why the last attempt failed, without the worker's own words."""

    failure_class: FailureClass | None
    reason: str | None
    """One CamelCase word."""


class JobStatusView(ApiModel):
    """The state of a job. It holds nothing sensitive, so whoever knows the id may see it."""

    job_id: str
    video_id: str | None
    status: JobState
    priority: Priority
    queue: str | None
    """Null where no queue takes the job yet."""
    progress: ProgressView
    position: Annotated[int, Field(ge=1)] | None
    """1 for the job that starts next; null where the job does not wait."""
    estimated_wait_seconds: Annotated[float, Field(ge=0)] | None
    """Seconds until it starts, by the median; null where nothing can be said."""
    estimate: Estimate | None
    attempt: Annotated[int, Field(ge=0)]
    """Attempts begun."""
    failure: FailureView | None
    created_at: Moment | None
    queued_at: Moment | None
    """When a queue accepted it."""
    started_at: Moment | None
    next_attempt_at: Moment | None
    """When a job that is retried is due again."""
    finished_at: Moment | None
    updated_at: Moment | None
    """When something of this was last known to have happened."""
    what_if: WhatIf | None
    """Only where `?priority=` asked for it."""


class WaitReason(ApiModel):
    """One reason why a job has not started."""

    code: str
    """The reason for programs, such as jobs-ahead."""
    message: str
    """The reason for people, and what can be done."""


class AttemptView(ApiModel):
    """One run of the worker."""

    attempt: int
    started_at: Moment | None
    finished_at: Moment | None
    failure_class: FailureClass | None
    reason: str | None
    exit_code: int | None
    message: str | None
    log_archived: bool
    """Whether the end of its log is kept beside the results."""


class JobView(JobStatusView):
    """A job with all that its owner may know of it."""

    reference: str | None
    """The submitter's own name for it."""
    video_url: str | None
    """Without its query, which may hold a signature."""
    type: str | None
    params: dict[str, str]
    callback_host: str | None
    sealed: bool
    """Whether metadata or callback secrets were sealed; they are shown to nobody."""
    tenant: str | None
    submitted_by: str | None
    max_retries: int | None
    retries: int
    timeout_seconds: int | None
    attempts: tuple[AttemptView, ...]
    """The last five, oldest first."""
    why_waiting: tuple[WaitReason, ...]
    """Empty where it does not wait."""
    message: str | None
    """What happened, and what to do, where the job is finished."""
    result_url: str | None
    failure_fingerprint: str | None
    """Jobs that failed alike share it."""


class JobPage(ApiModel):
    """Jobs, the latest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""


class Links(ApiModel):
    """Paths of a job."""

    self: str
    status: str
    events: str
    cancel: str


class Submitted(ApiModel):
    """A job that was taken: it is in the API server by now."""

    job_id: str
    """Names the job from here on. Whoever knows it may see the job's status."""
    status: JobState
    queue: str | None
    priority: Priority
    position: Annotated[int, Field(ge=1)] | None
    estimated_wait_seconds: Annotated[float, Field(ge=0)] | None
    estimate: Estimate | None
    created_at: Moment | None
    links: Links


class BatchItem(ApiModel):
    """What became of one submission of a batch: exactly one of the two is set."""

    job: Submitted | None
    problem: ProblemBody | None


class BatchView(ApiModel):
    """What became of each submission, in the order of the request."""

    accepted: int
    refused: int
    results: tuple[BatchItem, ...]


class QueueState(StrEnum):
    """What a queue does; mixed where several were asked for and differ."""

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    MIXED = "mixed"


STATES = {
    QueueMode.RUNNING: QueueState.RUNNING,
    QueueMode.PAUSED: QueueState.PAUSED,
    QueueMode.DRAINING: QueueState.DRAINING,
}


class QueueFigures(ApiModel):
    """Figures of one queue, or of several together."""

    state: QueueState
    queue_length: Annotated[int, Field(ge=0)]
    """Jobs that wait."""
    active_jobs: Annotated[int, Field(ge=0)]
    """Jobs that are being processed."""
    active_workers: Annotated[int, Field(ge=0)]
    """Slots that are held."""
    max_workers: Annotated[int, Field(ge=0)]
    max_queue_size: Annotated[int, Field(ge=0)]
    utilization_percent: Annotated[float, Field(ge=0)]
    """Held slots; above 100 for a while after the limit was lowered."""
    queue_utilization_percent: Annotated[float, Field(ge=0)]
    """Places that are taken; above 100 where retries and replays were added."""
    retrying_jobs: Annotated[int, Field(ge=0)]
    """Jobs that wait for a retry."""
    dead_letters: Annotated[int, Field(ge=0)]
    """Jobs that failed for good and are kept."""
    queued_by_priority: dict[Priority, int]
    estimated_wait_seconds: Annotated[float, Field(ge=0)] | None
    """How long a NORMAL job that came now would wait, by the median; null where nothing can be said."""


class QueueView(QueueFigures):
    """One queue."""

    name: str
    drained: bool
    """Whether a draining queue has finished all that it had accepted."""
    message: str | None
    """What keeps it from starting jobs, and what to do."""


class QueueStatusView(QueueFigures):
    """The queue, or all queues together and one by one."""

    queues: tuple[QueueView, ...]


class QueueList(ApiModel):
    """All queues, by name."""

    queues: tuple[QueueView, ...]


class Performance(ApiModel):
    """Counts since the queues exist."""

    total_jobs_processed: Annotated[int, Field(ge=0)]
    """Completed, and failed for good."""
    total_jobs_failed: Annotated[int, Field(ge=0)]
    total_jobs_retried: Annotated[int, Field(ge=0)]
    average_processing_time: Annotated[float, Field(ge=0)]
    """Seconds of a successful attempt."""
    uptime_seconds: Annotated[int, Field(ge=0)]
    """Since the operator that leads took over; 0 where none does."""


class QueueMetrics(ApiModel):
    """The guide's metrics, field for field; over all queues unless `?queue=` names one."""

    queue_length: Annotated[int, Field(ge=0)]
    active_jobs: Annotated[int, Field(ge=0)]
    active_workers: Annotated[int, Field(ge=0)]
    max_workers: Annotated[int, Field(ge=0)]
    utilization_percent: Annotated[float, Field(ge=0)]
    queue_utilization_percent: Annotated[float, Field(ge=0)]
    performance: Performance


class QueueConfigView(ApiModel):
    """The limits of a queue."""

    queue: str
    max_concurrent_jobs: int
    max_queue_size: int
    timeout_seconds: int
    max_retries: int
    retry_delays_seconds: tuple[int, ...]


class Act(ApiModel):
    """What became of an administrative act in one queue."""

    queue: str
    state: QueueState
    acknowledged: bool
    """Whether the operator has done it; it will, once it runs, where not."""
    count: Annotated[int, Field(ge=0)] | None
    """Jobs, attempts or objects that it concerned; null where nothing is counted, or nothing is known yet."""
    message: str


class Acts(ApiModel):
    """What became of an administrative act, queue by queue."""

    operation: str
    queues: tuple[Act, ...]


class DeadLetterPage(ApiModel):
    """Jobs that failed for good, the latest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None


class ReplayView(ApiModel):
    """The replay of a whole group: one job goes first, the others follow only if it succeeds."""

    state: ReplayState
    requested_at: Moment
    jobs: int
    released: int
    message: str


class GroupView(ApiModel):
    """Dead letters of a queue that failed alike."""

    queue: str
    fingerprint: str
    count: int
    reason: str
    message: str
    replay: ReplayView | None
    """The last one."""


class GroupList(ApiModel):
    """Groups of dead letters, the largest first."""

    groups: tuple[GroupView, ...]


class JobGone(ApiModel):
    """A job was removed."""

    job_id: str


class Reset(ApiModel):
    """What was received before counts for nothing: everything follows."""

    message: str = "The gateway cannot tell what changed since. Forget what you know: everything follows."


class Health(ApiModel):
    """Whether this gateway works."""

    status: str
    problems: tuple[str, ...]


class ProblemList(ApiModel):
    """Every kind of problem, with what to do about it."""

    problems: tuple[ProblemDescription, ...]


OPERATION_NAMES = {
    OperationName.CLEAR: "clear",
    OperationName.CLEAR_STUCK: "clear-stuck",
    OperationName.RECONCILE: "reconcile",
    OperationName.RESTART: "restart",
    OperationName.REPLAY: "replay",
}
