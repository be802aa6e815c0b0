"""The AnalysisQueue custom resource: the limits, the worker's template, and the list of those that run."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from klipstream_api import names
from klipstream_api.analysisjob import DnsLabel, ObjectName, Quantities, RetryDelays, Seconds, SecretKeyRef, Url
from klipstream_api.meta import Conditions, ObjectMeta, Time, WireModel
from klipstream_api.phases import Priority
from klipstream_api.webhooks import WebhookEvent

MAX_CONCURRENT_JOBS_BOUND = 1000
HEAD_LENGTH = 20
SHORTAGES_AT_MOST = 8
DEAD_LETTER_GROUPS_AT_MOST = 20
REPLAYS_KEPT = 8
REQUEST_CHARACTERS = 256
"""So much of a request for an administrative operation counts."""
# A file URL becomes a mount path, which must not be the root and must not hold a colon.
RESULTS_URL = r"^(file:///[^\x00-\x20\x7f/:][^\x00-\x20\x7f:]*|(s3|gs|az)://[^\x00-\x20\x7f/][^\x00-\x20\x7f]*)$"
CIDR = r"^[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


class QueueMode(StrEnum):
    """Running starts jobs; Paused accepts but starts none; Draining refuses new ones and finishes the rest."""

    RUNNING = "Running"
    PAUSED = "Paused"
    DRAINING = "Draining"


class ProgressFrom(StrEnum):
    """Posts: workers post their progress. Logs: lines of their output, "::progress 45 Analyzing", count as well."""

    POSTS = "Posts"
    LOGS = "Logs"


class Accepts(WireModel):
    """Which jobs that name no queue are routed here; at least one of the two is given."""

    types: Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=32)] | None = None
    """Job types; all where absent."""
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1, max_length=4)] | None = None
    """Priorities; all where absent."""


class WorkerTemplate(WireModel):
    """The pod that analyses; owned by administrators. Its first container is the worker."""

    labels: (
        Annotated[
            dict[str, Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE)]], Field(max_length=16)
        ]
        | None
    ) = None
    """Extra labels of the pod."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=16)] | None = None
    """Extra annotations of the pod."""
    spec: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
    """A Kubernetes PodSpec; the operator adds the worker contract's environment and volumes."""

    @field_validator("spec")
    @classmethod
    def _null_is_absent(cls, spec: dict[str, Any]) -> dict[str, Any]:
        """As Kubernetes reads it: an opaque field keeps the nulls that templates such as Helm's leave behind."""
        return {key: _without_nulls(value) for key, value in spec.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


class Results(WireModel):
    """Where results and checkpoints go."""

    url: Annotated[str, StringConstraints(min_length=6, max_length=1024, pattern=RESULTS_URL)]
    """An fsspec URL: s3://bucket/prefix, or file:///results on a claim."""
    claim_name: ObjectName | None = None
    """A PersistentVolumeClaim of this namespace that is mounted at the path of a file URL."""


class Sources(WireModel):
    """Where videos and chat logs may be fetched from."""

    allowed_networks: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=4, max_length=49, pattern=CIDR)], ...], Field(max_length=32)
    ] = ()
    """Networks in CIDR notation that sources may be in though they are not public, such as 10.1.2.0/24; the worker
    refuses all other private, loopback and link-local addresses."""


class Retention(WireModel):
    """How long finished jobs are kept, in seconds."""

    succeeded_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 604_800
    """7 days by default."""
    failed_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 2_592_000
    """30 days by default."""


class QueueEndpoint(WireModel):
    """Somebody who is told of every job of the queue."""

    name: DnsLabel
    """Name of the endpoint, once in a queue."""
    url: Url
    """Where webhooks go; http only where the relay's allow-list names the host."""
    secret_ref: SecretKeyRef | None = None
    """Signing secret; the Secret needs the callback label of the documentation."""
    token_ref: SecretKeyRef | None = None
    """Bearer token to send along; the Secret needs the callback label, too."""
    events: Annotated[tuple[WebhookEvent, ...], Field(max_length=16)] | None = None
    """Events to send, such as job.succeeded; all where absent."""


class NodeLost(WireModel):
    """What happens to an attempt whose node stopped answering."""

    seconds: Annotated[int, Field(ge=10, le=86_400)] = 300
    """Seconds that a terminating pod on an unreachable node keeps its slot."""
    release: bool = True
    """Whether the slot is released then; otherwise it is held until the node answers."""


class Stall(WireModel):
    """When a running attempt counts as stalled."""

    no_progress_seconds: Seconds | None = None
    """Seconds in which neither percentage, stage, message nor checkpoint changes; off where absent."""


class Aging(WireModel):
    """Waiting jobs rise in priority, so that a stream of higher ones cannot starve them for ever."""

    every_seconds: Seconds
    """Seconds of waiting for each level that a job rises."""
    up_to: Priority = Priority.HIGH
    """The level at which it stops; a job that was submitted above it stays where it is."""


class Capacity(WireModel):
    """What happens to attempts that the cluster has no room for."""

    unschedulable_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30
    """Seconds that a pod may find no node before its job gives the slot back."""
    probe_seconds: Annotated[int, Field(ge=1, le=86_400)] = 15
    """Seconds before one job tries again; doubled with each try that finds no node."""
    probe_at_most_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """The longest pause between two tries."""


class Kueue(WireModel):
    """Kueue, where it is installed, decides when the Kubernetes Job of an attempt that holds a slot really runs."""

    queue_name: DnsLabel
    """Name of a LocalQueue of this namespace."""


class ResourceBounds(WireModel):
    """The largest resources a job may ask for."""

    max: Quantities | None = None
    """Largest amount of each resource."""


class AnalysisQueueSpec(WireModel):
    """The limits of a queue and the worker that it starts."""

    mode: QueueMode = QueueMode.RUNNING
    """Running, Paused or Draining."""
    max_concurrent_jobs: Annotated[int, Field(ge=0, le=MAX_CONCURRENT_JOBS_BOUND)] = 3
    """How many attempts may run at once; lowering it never stops a running one."""
    max_queue_size: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """How many jobs may wait; retries and replays pass."""
    timeout_seconds: Seconds = 3600
    """Longest run time of one attempt, in seconds."""
    max_retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Retries after the first attempt."""
    retry_delays_seconds: RetryDelays = (30, 120, 300)
    """Seconds before each retry, the last one repeating."""
    accepts: Accepts | None = None
    """Which jobs that name no queue are routed here."""
    worker_template: WorkerTemplate
    """The worker's pod."""
    resource_bounds: ResourceBounds | None = None
    """The largest resources a job may ask for."""
    results: Results | None = None
    """Where results and checkpoints go."""
    sources: Sources = Sources()
    """Where videos and chat logs may be fetched from."""
    reserved_slots: (
        Annotated[dict[str, Annotated[int, Field(ge=0, le=MAX_CONCURRENT_JOBS_BOUND)]], Field(max_length=3)] | None
    ) = None
    """Slots by priority (URGENT, HIGH, NORMAL) that no lower priority takes; none where absent."""
    aging: Aging | None = None
    """Starvation guard; off where absent, since strict priority is the promise."""
    endpoints: Annotated[
        tuple[QueueEndpoint, ...],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Who is told of every job of the queue, beside the jobs' own callbacks."""
    retention: Retention = Retention()
    """How long finished jobs are kept."""
    stall: Stall = Stall()
    """When a running attempt counts as stalled."""
    node_lost: NodeLost = NodeLost()
    """What happens when a node stops answering."""
    capacity: Capacity = Capacity()
    """What happens when the cluster has no room."""
    start_deadline_seconds: Seconds = 300
    """Seconds that a worker's container may fail to start (image, configuration) before the attempt fails."""
    progress_from: ProgressFrom = ProgressFrom.POSTS
    """Posts, or Logs for images that post nothing: lines such as "::progress 45 Analyzing" are their progress."""
    cancel_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds that a worker which posts progress has to end by itself once it is told to cancel."""
    kueue: Kueue | None = None
    """Has attempts wait for quota in Kueue; off where absent."""


class Admitted(WireModel):
    """A reservation: this attempt holds a slot."""

    uid: Annotated[str, Field(max_length=64)]
    """Uid of the AnalysisJob."""
    attempt: int
    """Number of the attempt."""
    name: Annotated[str, Field(max_length=253)]
    """Name of the AnalysisJob."""


class QueueHeadEntry(WireModel):
    """One of the jobs that start next."""

    name: Annotated[str, Field(max_length=253)]
    """Name of the AnalysisJob."""
    priority: Priority
    """Its priority, raised by aging where that is on."""
    queued_at: Time | None = None
    """When it was accepted."""


class Totals(WireModel):
    """Counts since the queue exists; they survive restarts and retention."""

    succeeded: int = 0
    """Jobs that succeeded."""
    failed: int = 0
    """Jobs that failed for good."""
    cancelled: int = 0
    """Jobs that were cancelled while an attempt held a slot."""
    retried: int = 0
    """Attempts that were followed by another."""
    started: int = 0
    """Jobs whose first attempt was given a slot."""
    wait_seconds: float = 0.0
    """Time that these had waited for it since they were accepted, together, in seconds."""
    run_seconds: float = 0.0
    """Run time of all succeeded attempts together, in seconds."""


class RunTimes(WireModel):
    """Run times of one type of job as a bounded histogram with logarithmic buckets."""

    type: Annotated[str, Field(max_length=63)]
    """The job type; empty for jobs that name none."""
    buckets: Annotated[dict[str, int], Field(max_length=256)]
    """Count by bucket number; bucket n holds run times around 1.1 to the power of n seconds."""


class OperationName(StrEnum):
    """Administrative operations, asked for by annotations of the queue."""

    CLEAR = "Clear"
    CLEAR_STUCK = "ClearStuck"
    RECONCILE = "Reconcile"
    RESTART = "Restart"
    REPLAY = "Replay"


OPERATION_ANNOTATIONS = {
    OperationName.CLEAR: names.CLEAR_ANNOTATION,
    OperationName.CLEAR_STUCK: names.CLEAR_STUCK_ANNOTATION,
    OperationName.RECONCILE: names.RECONCILE_ANNOTATION,
    OperationName.RESTART: names.RESTART_ANNOTATION,
    OperationName.REPLAY: names.REPLAY_ANNOTATION,
}
"""Where each is asked for; the value is the request."""


class Operation(WireModel):
    """The last request of one administrative operation, and what it did."""

    name: OperationName
    """Clear, ClearStuck, Reconcile, Restart or Replay."""
    request: Annotated[str, Field(max_length=REQUEST_CHARACTERS)]
    """Value of the annotation that asked for it; another value asks again."""
    at: Time | None = None
    """When it was last acted on; a refused request leaves it as it was."""
    count: int = 0
    """Jobs, attempts or objects that it concerned."""
    message: Annotated[str, Field(max_length=512)] = ""
    """What it did, or why it was refused."""


class CapacityShortage(WireModel):
    """Jobs of one size that the cluster has no room for at the moment."""

    shape: Annotated[str, Field(max_length=64)]
    """Which jobs: "default", or a short hash of spec.resources for those that have resources of their own."""
    since: Time
    """When the first of them found no node."""
    missing: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=8)] = ()
    """Resources that the scheduler named, such as cpu and memory."""
    message: Annotated[str, Field(max_length=512)] = ""
    """The scheduler's words."""
    tries: int = 0
    """Attempts that found no node in a row."""
    next_try_at: Time
    """When one job tries again."""
    trying: Annotated[str, Field(max_length=64)] | None = None
    """Uid of the AnalysisJob that tries now."""


class DeadLetterGroup(WireModel):
    """Dead letters that failed alike."""

    fingerprint: Annotated[str, Field(max_length=64)]
    """What they share; also in their status.failureFingerprint."""
    count: int
    """How many there are."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Reason of the last attempt of one of them."""
    message: Annotated[str, Field(max_length=512)] = ""
    """Message of the last attempt of one of them."""
    example: Annotated[str, Field(max_length=253)] = ""
    """Name of that one."""


class ReplayState(StrEnum):
    """Where a replay of a whole group stands."""

    CANARY = "Canary"
    RELEASING = "Releasing"
    FINISHED = "Finished"
    STOPPED = "Stopped"


class GroupReplay(WireModel):
    """The replay of a group of dead letters: one goes first, the others follow only if it succeeds."""

    fingerprint: Annotated[str, Field(max_length=64)]
    """The group."""
    requested_at: Time
    """When it was asked for; dead letters that came later are left alone."""
    state: ReplayState
    """Canary, Releasing, Finished or Stopped."""
    canary: Annotated[str, Field(max_length=253)]
    """Name of the job that goes first."""
    canary_uid: Annotated[str, Field(max_length=64)] = Field(alias="canaryUID")
    """Its uid."""
    canary_replay: int
    """The spec.replay that it was given."""
    jobs: int = 1
    """Dead letters in the group when it was asked for, the canary included."""
    released: int = 0
    """Jobs that followed the canary."""
    message: Annotated[str, Field(max_length=512)] = ""
    """What happened, in a sentence."""


class AnalysisQueueStatus(WireModel):
    """What is true of the queue, written by the operator only."""

    observed_generation: int | None = None
    """Generation of the spec that was last acted on."""
    initialized: bool = False
    """Whether what already ran has been taken into the reservations; nothing starts before."""
    admitted: Annotated[
        tuple[Admitted, ...],
        Field(
            max_length=2 * MAX_CONCURRENT_JOBS_BOUND,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid", "attempt"]},
        ),
    ] = ()
    """The reservations: every attempt that holds a slot, once."""
    active: int = 0
    """Number of reservations."""
    queued: int = 0
    """Jobs that wait."""
    backing_off: int = 0
    """Jobs that wait for a retry."""
    dead_lettered: int = 0
    """Jobs that failed for good and are still kept."""
    selector: Annotated[str, Field(max_length=256)] | None = None
    """Label selector of the queue's pods, for the scale subresource."""
    head: Annotated[tuple[QueueHeadEntry, ...], Field(max_length=HEAD_LENGTH)] = ()
    """The jobs that start next, first one first."""
    totals: Totals = Totals()
    """Counts since the queue exists."""
    run_times: Annotated[tuple[RunTimes, ...], Field(max_length=16)] = ()
    """Run times by type, for estimates."""
    operations: Annotated[
        tuple[Operation, ...],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Administrative requests and what became of them, the last one of each kind."""
    capacity: Annotated[
        tuple[CapacityShortage, ...],
        Field(
            max_length=SHORTAGES_AT_MOST,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["shape"]},
        ),
    ] = ()
    """What the cluster has no room for at the moment."""
    dead_letter_groups: Annotated[tuple[DeadLetterGroup, ...], Field(max_length=DEAD_LETTER_GROUPS_AT_MOST)] = ()
    """Dead letters by fingerprint, the largest groups first."""
    replays: Annotated[tuple[GroupReplay, ...], Field(max_length=REPLAYS_KEPT)] = ()
    """Replays of whole groups, the latest last."""
    conditions: Conditions = ()
    """Ready, Drained, Full, CapacityAvailable."""


class AnalysisQueue(WireModel):
    """An AnalysisQueue as the API server holds it."""

    metadata: ObjectMeta
    spec: AnalysisQueueSpec
    status: AnalysisQueueStatus = AnalysisQueueStatus()

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name

    @classmethod
    def from_wire(cls, obj: dict[str, Any]) -> "AnalysisQueue":
        """Parse what the API server sent; raises pydantic.ValidationError when it is not a valid AnalysisQueue."""
        return cls.model_validate(obj)
