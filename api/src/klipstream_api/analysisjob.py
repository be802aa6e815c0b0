"""The AnalysisJob custom resource: one submitted video and the truth about its analysis."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from klipstream_api.meta import Conditions, ObjectMeta, Time, WireModel, compact
from klipstream_api.phases import Phase, Priority
from klipstream_api.webhooks import WebhookEvent

# The API server matches patterns by Go's rules and pydantic by Rust's; what both read differently (such as \s,
# which knows more spaces in Rust) would let objects in that the operator cannot read.
HTTP_URL = r"^https?://[^\x00-\x20\x7f]+$"
HTTPS_URL = r"^https://[^\x00-\x20\x7f]+$"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
# The format date-time lets in offsets of 99 hours and the year 0, which no clock of ours can hold.
TIMESTAMP = (
    r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}[tT][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([zZ]|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$"
)

MAX_PARAMS_CHARACTERS = 12_288
"""Names and values together: a pod's annotations carry them and end at 256 KiB; a character takes 12 bytes at worst."""

MAX_MEMORY_BYTES = 2**53
"""The largest integer that every reader of JSON understands."""
MAX_CPU_SECONDS = 1_000_000_000
MAX_WALL_SECONDS = 31_536_000

Url = Annotated[str, StringConstraints(min_length=8, max_length=2048, pattern=HTTP_URL)]
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL)]
Seconds = Annotated[int, Field(ge=1, le=604_800)]
RetryDelays = Annotated[tuple[Annotated[int, Field(ge=0, le=86_400)], ...], Field(min_length=1, max_length=10)]
Params = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=32),
]
Quantities = Annotated[
    dict[
        str,
        Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")],
    ],
    Field(max_length=8),
]


class FailureClass(StrEnum):
    """Why an attempt ended without success, and so what it costs."""

    TRANSIENT = "Transient"
    TIMEOUT = "Timeout"
    STALLED = "Stalled"
    OUT_OF_MEMORY = "OutOfMemory"
    DISK_FULL = "DiskFull"
    INFRASTRUCTURE = "Infrastructure"
    PERMANENT = "Permanent"
    UNSCHEDULABLE = "Unschedulable"


class SecretKeyRef(WireModel):
    """A key of a Secret in the job's own namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key within the Secret."""


class Callback(WireModel):
    """Where changes of this job are announced."""

    url: Annotated[str, StringConstraints(min_length=9, max_length=2048, pattern=HTTPS_URL)]
    """An https URL that receives signed webhooks."""
    secret_ref: SecretKeyRef | None = None
    """Signing secret; the Secret needs the callback label of the documentation."""
    token_ref: SecretKeyRef | None = None
    """Bearer token to send along; the Secret needs the callback label, too."""
    events: Annotated[tuple[WebhookEvent, ...], Field(max_length=16)] | None = None
    """Events to send, such as job.succeeded; all where absent."""


class Resources(WireModel):
    """Compute resources of the worker container, within the queue's bounds."""

    requests: Quantities | None = None
    """Requested amounts, such as cpu and memory."""
    limits: Quantities | None = None
    """Limits, such as memory."""


class AnalysisJobSpec(WireModel):
    """What is to be analysed, how urgently and under which limits."""

    video_url: Url | None = None
    """http(s) URL of the video or stream; this or videoUrlFrom."""
    video_url_from: SecretKeyRef | None = None
    """A Secret that holds the URL (for pre-signed URLs)."""
    video_id: Annotated[str, Field(max_length=128)] | None = None
    """The platform's id of the video, handed on to workers and webhooks."""
    job_id: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"),
        ]
        | None
    ) = None
    """The job's id for the outside world; metadata.uid where absent. Set it only to restore a backup."""
    queue_name: DnsLabel | None = None
    """The AnalysisQueue in this namespace; where absent the queues' routing decides."""
    type: DnsLabel | None = None
    """Kind of analysis, for routing and for run-time estimates."""
    priority: Priority = Priority.NORMAL
    """URGENT, HIGH, NORMAL or LOW; may be changed while the job waits."""
    callback: Callback | None = None
    """Webhook for this job's changes."""
    params: Params | None = None
    """String parameters for the worker: at most 32, and 12288 characters with their names."""
    resources: Resources | None = None
    """Resources of the worker, within the queue's bounds."""
    timeout_seconds: Seconds | None = None
    """Longest run time of one attempt, in seconds; the queue's value where absent."""
    max_retries: Annotated[int, Field(ge=0, le=20)] | None = None
    """Retries after the first attempt; the queue's value where absent."""
    retry_delays_seconds: RetryDelays | None = None
    """Seconds before each retry, the last one repeating; the queue's value where absent."""
    not_before: Annotated[Time, Field(json_schema_extra={"pattern": TIMESTAMP})] | None = None
    """The job does not start before this moment, such as 2026-01-02T03:04:05Z."""
    cancel: bool = False
    """Set to true to cancel; it cannot be taken back."""
    replay: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Raise it to run a finally failed job again."""
    sealed: Annotated[str, Field(max_length=16_384)] | None = None
    """Encrypted parameters, opened only in the worker and the relay."""


class StageResources(WireModel):
    """What a stage of an attempt took, by the worker's own measure."""

    stage: Annotated[str, Field(min_length=1, max_length=64)]
    """Stage that the worker named."""
    peak_memory_bytes: Annotated[int, Field(ge=0, le=MAX_MEMORY_BYTES)] | None = None
    """The most memory that was in use at once and could not be given back, of the whole container if it can be told."""
    cpu_seconds: Annotated[float, Field(ge=0, le=MAX_CPU_SECONDS, allow_inf_nan=False)] | None = None
    """CPU time, of child processes as well."""
    wall_seconds: Annotated[float, Field(ge=0, le=MAX_WALL_SECONDS, allow_inf_nan=False)] | None = None
    """Time on the clock while it was the stage that was on."""


StagesResources = Annotated[tuple[StageResources, ...], Field(max_length=16)]


class Progress(WireModel):
    """How far the current attempt is."""

    attempt: int
    """The attempt that posted it."""
    percentage: Annotated[float, Field(ge=0, le=100)]
    """0 to 100, never falling within an attempt."""
    stage: Annotated[str, Field(max_length=64)]
    """Stage that the worker named."""
    message: Annotated[str, Field(max_length=256)] | None = None
    """The worker's own words."""
    estimated_completion_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds that remain by the worker's estimate."""
    checkpoint: Annotated[str, Field(max_length=1024)] | None = None
    """Opaque value that the next attempt receives."""
    resources: StagesResources | None = None
    """What the attempt's stages have taken so far, where the worker measures that."""
    updated_at: Time
    """When the worker posted something new."""


class Attempt(WireModel):
    """One run of the worker, and how it ended."""

    attempt: int
    """Number of the attempt, from 1."""
    job_name: Annotated[str, Field(max_length=63)] | None = None
    """Name of its Kubernetes Job."""
    job_uid: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="jobUID")
    """Uid of its Kubernetes Job."""
    started_at: Time | None = None
    """When its Kubernetes Job was created."""
    finished_at: Time | None = None
    """When it ended."""
    failure_class: FailureClass | None = None
    """Why it failed."""
    reason: Annotated[str, Field(max_length=128)] | None = None
    """One CamelCase word."""
    exit_code: int | None = None
    """Exit code of the worker container."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """What happened, in a sentence."""
    log_url: Annotated[str, Field(max_length=2048)] | None = None
    """Where the end of its log was archived, if it failed and the queue has a results store."""
    resources: StagesResources | None = None
    """What its stages took, where the worker measured that."""


class StopReason(StrEnum):
    """Why the operator ends an attempt."""

    CANCEL = "Cancel"
    STALLED = "Stalled"
    CLEARED_AS_STUCK = "ClearedAsStuck"
    START_FAILED = "StartFailed"
    UNSCHEDULABLE = "Unschedulable"


class Stop(WireModel):
    """The operator's decision to end an attempt, kept so that a successor goes on with it."""

    attempt: int
    """The attempt that is ended."""
    reason: StopReason
    """Cancel, Stalled, ClearedAsStuck, StartFailed or Unschedulable."""
    detail: Annotated[str, Field(max_length=128)] = ""
    """One CamelCase word, such as ImagePullBackOff."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What was seen, and what to do."""
    at: Time
    """When it was decided."""


class AnalysisJobStatus(WireModel):
    """What is true of the job, written by the operator only."""

    phase: Phase = Phase.QUEUED
    """Queued, Starting, Running, BackingOff, Succeeded, Failed, Cancelled or Rejected."""
    observed_generation: int | None = None
    """Generation of the spec that was last acted on."""
    observed_replay: int = 0
    """The value of spec.replay that was last acted on."""
    queue_name: Annotated[str, Field(max_length=63)] | None = None
    """The queue that accepted the job."""
    sequence: int | None = None
    """Place in the order of acceptance; lower starts first within a priority."""
    queued_at: Time | None = None
    """When the job was accepted."""
    attempt: int = 0
    """Attempts begun so far."""
    retries: int = 0
    """Retries that count against maxRetries."""
    infrastructure_losses: int = 0
    """Attempts lost to the infrastructure; they burn no retry."""
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=5)] = ()
    """The last five attempts, oldest first."""
    progress: Progress | None = None
    """Progress of the current or last attempt."""
    stop: Stop | None = None
    """Why the current attempt is being ended by the operator."""
    effective_priority: Priority | None = None
    """The priority that aging raised the waiting job to, where the queue has aging."""
    next_attempt_at: Time | None = None
    """When a job in BackingOff re-enters the backlog."""
    started_at: Time | None = None
    """When the current or last attempt began."""
    finished_at: Time | None = None
    """When the job reached a final phase."""
    announced_at: Time | None = None
    """When the webhook relay had announced the final phase to every endpoint, or had given up on them."""
    result_url: Annotated[str, Field(max_length=2048)] | None = None
    """Where the results are."""
    failure_fingerprint: Annotated[str, Field(max_length=64)] | None = None
    """Equal failures share it."""
    conditions: Conditions = ()
    """Finished, DeadLettered, CapacityAvailable, Stalled."""


class AnalysisJob(WireModel):
    """An AnalysisJob as the API server holds it."""

    metadata: ObjectMeta
    spec: AnalysisJobSpec
    status: AnalysisJobStatus = AnalysisJobStatus()

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def job_id(self) -> str:
        """The id that the outside world knows the job by."""
        return self.spec.job_id or self.metadata.uid

    @classmethod
    def from_wire(cls, obj: dict[str, Any]) -> "AnalysisJob":
        """Parse what the API server sent; raises pydantic.ValidationError when it is not a valid AnalysisJob."""
        job = cls.model_validate(obj)
        return compact(job, metadata=compact(job.metadata), spec=compact(job.spec), status=compact(job.status))
