"""What the operator needs to know of Kubernetes Jobs and pods, read from what the API server sent."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from klipstream_api import names

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container ended."""

    exit_code: int
    reason: str
    """The kubelet's word: Completed, Error, OOMKilled, StartError or ContainerStatusUnknown."""
    message: str
    """What it wrote to its termination message, or what kept it from starting."""
    container: str = names.WORKER_CONTAINER
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container that waits to be started."""

    container: str
    reason: str
    """Such as ContainerCreating or ImagePullBackOff."""
    message: str


ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Why a container waits that is about to start."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A worker pod; two views are equal if they say the same, whatever the version."""

    uid: str
    name: str
    namespace: str
    resource_version: int = field(compare=False)
    job_uid: str
    attempt: int
    owner_uid: str
    phase: str
    reason: str
    message: str
    deleted_at: datetime | None
    node_name: str
    running_since: datetime | None
    termination: Termination | None
    """The worker container's end."""
    disruption: str | None
    """Reason of a true DisruptionTarget condition."""
    unschedulable: str | None
    """The scheduler's message while it finds no node."""
    waiting: tuple[Waiting, ...] = ()
    """Containers that wait, init containers first."""
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    """When it was given its node."""
    unschedulable_since: datetime | None = None
    """When the scheduler first found no node; its later tries do not move it."""
    deletion_requested_at: datetime | None = None
    """deleted_at less the grace period, which the deletionTimestamp includes."""
    disruption_message: str = ""
    disrupted_at: datetime | None = None
    deadline_seconds: int | None = None
    """activeDeadlineSeconds: the attempt's timeoutSeconds."""
    failed_beside: Termination | None = None
    """The first other container that failed: an init container, or one beside the worker."""
    never_ran: bool = False
    """No container got so far as to run."""
    queue: str = ""
    """Name of the AnalysisQueue."""

    @property
    def ended(self) -> bool:
        """Succeeded and Failed are final for a pod, so a stale view of them is still true."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def culprit(self) -> Termination | None:
        """The container that made the pod fail; None where none failed by itself."""
        worker = self.termination
        return worker if worker is not None and worker.exit_code != 0 else self.failed_beside

    @property
    def trouble(self) -> Waiting | None:
        """The first container that something keeps from starting."""
        return next((each for each in self.waiting if each.reason not in ON_ITS_WAY), None)

    @property
    def decisive(self) -> tuple[object, ...]:
        """What a step of its AnalysisJob can turn on; a node, or a container on its way, decides nothing.

        When it was created and scheduled only moves a deadline that its trouble sets, and both come before that.
        """
        return (
            self.phase, self.running_since, self.termination, self.deleted_at, self.unschedulable_since,
            self.unschedulable, self.trouble, self.disruption, self.reason, self.failed_beside,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobView:
    """The Kubernetes Job of one attempt; two views are equal if they say the same, whatever the version."""

    uid: str
    name: str
    namespace: str
    resource_version: int = field(compare=False)
    job_uid: str
    attempt: int
    owner_uid: str
    suspend: bool
    pods_left: int
    """Active and terminating pods by the Job controller's count."""
    conditions: dict[str, str] = field(default_factory=dict)
    """Reason by type of the conditions that are true."""
    template: str = ""
    """Digest of the pod template that it was made from."""
    fenced: bool = False
    """Whether it was marked so that a resume that was decided before meets a conflict."""
    queued_in: str = ""
    """The LocalQueue of Kueue that it waits in or runs by; empty where Kueue has no part in it."""
    withdrawn: bool = False
    """Whether Kueue was told never to start it again."""

    @property
    def complete(self) -> bool:
        return "Complete" in self.conditions

    @property
    def failed(self) -> bool:
        return "Failed" in self.conditions

    @property
    def held(self) -> bool:
        """Kueue suspends and resumes it as it likes, so that neither says anything of an end."""
        return self.queued_in != "" and not self.withdrawn

    @property
    def unstopped(self) -> bool:
        """Pods of it may run or come, unless somebody stops it."""
        return self.held or not (self.suspend or self.withdrawn)

    @property
    def suspended(self) -> bool:
        """Suspended for good, and the controller says that none of its pods is left."""
        return self.suspend and not self.held and "Suspended" in self.conditions and self.pods_left == 0

    @property
    def over(self) -> bool:
        """By its controller's word, none of its pods is live, and none will come while its spec stays as it is."""
        return self.complete or self.failed or self.suspended

    @property
    def decisive(self) -> tuple[object, ...]:
        """What a step of its AnalysisJob can turn on; how many pods are active or ready decides nothing."""
        return (
            self.suspend, self.complete, self.failed, self.suspended, self.queued_in, self.withdrawn, self.fenced,
            self.template,
        )  # fmt: skip


@dataclass(slots=True)
class AttemptView:
    """All that runs, or ran, for one attempt of one AnalysisJob."""

    job: JobView | None = None
    pods: dict[str, PodView] = field(default_factory=dict)
    job_gone: bool = False
    """A live read found neither the Job nor a pod of it that is not terminal."""
    pods_gone: bool = False
    """A live read found no pod of its Job, which was over already."""
    last_facts: tuple[bool, bool] = field(default=(False, False), compare=False)
    """What a queue's writer was last told of: whether the slot may be released, and `on_a_node`."""

    @property
    def on_a_node(self) -> bool:
        """Whether a node had room for a pod of it."""
        return any(pod.node_name for pod in self.pods.values())

    @property
    def live_pods(self) -> list[PodView]:
        return [pod for pod in self.pods.values() if not pod.ended]

    @property
    def ended_pod(self) -> PodView | None:
        """How it ended; of several, which only Kueue can cause, the one that succeeded, or else the last."""
        ended = (pod for pod in self.pods.values() if pod.ended)
        return max(ended, key=lambda pod: (pod.phase == "Succeeded", pod.resource_version), default=None)

    @property
    def over(self) -> bool:
        """No pod is live and none can come (rule 4).

        A pod's end decides before the Job's own condition, which its controller writes about a second later:
        with backoffLimit 0 and one completion no second pod follows.
        """
        if self.live_pods:
            return False
        if self.job is not None and self.job.held:
            # Its pod may have ended because Kueue took its place away, and another one comes when Kueue gives it back.
            return self.job.over
        if self.ended_pod is not None or self.job_gone:
            return True
        return self.job is not None and self.job.over

    @property
    def end_unseen(self) -> bool:
        """Over by what its Job says, while how its pod ended may be on its way: pods and Jobs come by two watches."""
        return self.over and self.ended_pod is None and not self.job_gone and not self.pods_gone

    @property
    def waits_in_kueue(self) -> bool:
        """Kueue decides whether its pod runs, and none does."""
        return self.job is not None and self.job.held and all(pod.running_since is None for pod in self.live_pods)

    @property
    def can_go_on(self) -> bool:
        """Suspended, and no pod of it is known to run or to have ended: it can go on as if nothing had been."""
        return self.job is not None and self.job.suspended and self.ended_pod is None and not self.live_pods


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _owner_uid(metadata: JsonObject) -> str:
    return next((ref["uid"] for ref in metadata.get("ownerReferences", ()) if ref.get("controller")), "")


def attempt_key(metadata: JsonObject) -> tuple[str, int] | None:
    """(uid of the AnalysisJob, attempt) from our labels, None where they are missing or not ours."""
    labels = metadata.get("labels") or {}
    job_uid, attempt = labels.get(names.JOB_UID_LABEL), labels.get(names.ATTEMPT_LABEL, "")
    return (job_uid, int(attempt)) if job_uid and attempt.isdecimal() else None


def view_job(obj: JsonObject) -> JobView | None:
    """View of a Kubernetes Job, None where it is not one of ours."""
    metadata = obj["metadata"]
    key = attempt_key(metadata)
    if key is None:
        return None
    status = obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    return JobView(
        uid=metadata["uid"],
        name=metadata["name"],
        namespace=metadata["namespace"],
        resource_version=int(metadata["resourceVersion"]),
        job_uid=key[0],
        attempt=key[1],
        owner_uid=_owner_uid(metadata),
        suspend=bool(obj["spec"].get("suspend")),
        pods_left=status.get("active", 0) + (status.get("terminating") or 0),
        conditions={c["type"]: c.get("reason", "") for c in status.get("conditions", ()) if c["status"] == "True"},
        template=annotations.get(names.TEMPLATE_ANNOTATION, ""),
        fenced=names.FENCED_ANNOTATION in annotations,
        queued_in=(metadata.get("labels") or {}).get(names.KUEUE_QUEUE_LABEL, ""),
        withdrawn=names.WITHDRAWN_ANNOTATION in annotations,
    )


def view_pod(obj: JsonObject) -> PodView | None:
    """View of a pod, None where it is not one of our workers."""
    metadata = obj["metadata"]
    key = attempt_key(metadata)
    if key is None:
        return None
    spec, status = obj["spec"], obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    disruption = conditions.get("DisruptionTarget", {})
    disrupted = disruption.get("status") == "True"
    scheduled = conditions.get("PodScheduled", {})
    changed_at = _time(scheduled.get("lastTransitionTime"))
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    containers = status.get("containerStatuses") or ()
    worker = next((c for c in containers if c["name"] == names.WORKER_CONTAINER), containers[0] if containers else {})
    deleted_at = _time(metadata.get("deletionTimestamp"))
    grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    started_at = ((worker.get("state") or {}).get("running") or {}).get("startedAt")
    return PodView(
        uid=metadata["uid"],
        name=metadata["name"],
        namespace=metadata["namespace"],
        resource_version=int(metadata["resourceVersion"]),
        job_uid=key[0],
        attempt=key[1],
        owner_uid=_owner_uid(metadata),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        deleted_at=deleted_at,
        node_name=spec.get("nodeName", ""),
        running_since=_time(started_at)
        or (_time(status.get("startTime")) if status.get("phase") == "Running" else None),
        termination=_termination(worker),
        disruption=disruption.get("reason", "DisruptionTarget") if disrupted else None,
        unschedulable=scheduled.get("message", "") if unschedulable else None,
        waiting=_waiting(status),
        created_at=_time(metadata.get("creationTimestamp")),
        scheduled_at=changed_at if scheduled.get("status") == "True" else None,
        unschedulable_since=changed_at if unschedulable else None,
        deletion_requested_at=None if deleted_at is None else deleted_at - grace,
        disruption_message=disruption.get("message", "") if disrupted else "",
        disrupted_at=_time(disruption.get("lastTransitionTime")) if disrupted else None,
        deadline_seconds=spec.get("activeDeadlineSeconds"),
        failed_beside=_failed_beside(spec, status, worker),
        never_ran=not any(_has_run(c) for c in (*(status.get("initContainerStatuses") or ()), *containers)),
        queue=(metadata.get("labels") or {}).get(names.QUEUE_LABEL, ""),
    )


def _termination(container: JsonObject) -> Termination | None:
    ended = (container.get("state") or {}).get("terminated")
    if ended is None:
        return None
    return Termination(
        exit_code=ended.get("exitCode", 0),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
        container=container["name"],
        finished_at=_time(ended.get("finishedAt")),
    )


def _failed_beside(spec: JsonObject, status: JsonObject, worker: JsonObject) -> Termination | None:
    """A sidecar, an init container that is always restarted, never decides how a pod ends."""
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    inits = [c for c in status.get("initContainerStatuses") or () if c["name"] not in sidecars]
    others = [c for c in status.get("containerStatuses") or () if c is not worker]
    ends = (_termination(container) for container in (*inits, *others))
    return next((ended for ended in ends if ended is not None and ended.exit_code != 0), None)


def _has_run(container: JsonObject) -> bool:
    state = container.get("state") or {}
    return "running" in state or _ran(state) or _ran(container.get("lastState") or {})


def _ran(state: JsonObject) -> bool:
    ended = state.get("terminated")
    return ended is not None and ended.get("reason") not in _SHOWN_AS_TERMINATED


_SHOWN_AS_TERMINATED = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown"})
"""Containers that could not be started, or that the kubelet knows nothing of."""


def _waiting(status: JsonObject) -> tuple[Waiting, ...]:
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return tuple(
        Waiting(container["name"], waiting.get("reason", ""), waiting.get("message", ""))
        for container in containers
        if (waiting := (container.get("state") or {}).get("waiting")) is not None
    )
