"""What the operator needs to know of Kubernetes Jobs and pods, read from what the API server sent."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from klipstream_api import names

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Termination:
    """How the worker container ended."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PodView:
    """A worker pod."""

    uid: str
    name: str
    namespace: str
    resource_version: int
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
    disruption: str | None
    """Reason of a true DisruptionTarget condition."""
    unschedulable: str | None
    """The scheduler's message while it finds no node."""
    waiting: str | None
    """Why the container does not start, such as ImagePullBackOff."""

    @property
    def ended(self) -> bool:
        """Succeeded and Failed are final for a pod, so a stale view of them is still true."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class JobView:
    """The Kubernetes Job of one attempt."""

    uid: str
    name: str
    namespace: str
    resource_version: int
    job_uid: str
    attempt: int
    owner_uid: str
    suspend: bool
    pods_left: int
    """Active and terminating pods by the Job controller's count."""
    conditions: dict[str, str] = field(default_factory=dict)
    """Reason by type of the conditions that are true."""

    @property
    def complete(self) -> bool:
        return "Complete" in self.conditions

    @property
    def failed(self) -> bool:
        return "Failed" in self.conditions

    @property
    def suspended(self) -> bool:
        """Suspended, and the controller says that none of its pods is left."""
        return self.suspend and "Suspended" in self.conditions and self.pods_left == 0


@dataclass(slots=True)
class AttemptView:
    """All that runs, or ran, for one attempt of one AnalysisJob."""

    job: JobView | None = None
    pods: dict[str, PodView] = field(default_factory=dict)
    job_gone: bool = False
    """A live read found neither the Job nor a pod of it that is not terminal."""

    @property
    def live_pods(self) -> list[PodView]:
        return [pod for pod in self.pods.values() if not pod.ended]

    @property
    def ended_pod(self) -> PodView | None:
        return next((pod for pod in self.pods.values() if pod.ended), None)

    @property
    def over(self) -> bool:
        """No pod is live and none can come (design rule 4).

        A pod's end decides before the Job's own condition, which its controller writes about a second later:
        with backoffLimit 0 and one completion no second pod follows.
        """
        if self.live_pods:
            return False
        if self.ended_pod is not None or self.job_gone:
            return True
        return self.job is not None and (self.job.complete or self.job.failed or self.job.suspended)


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
    )


def view_pod(obj: JsonObject) -> PodView | None:
    """View of a pod, None where it is not one of our workers."""
    metadata = obj["metadata"]
    key = attempt_key(metadata)
    if key is None:
        return None
    status = obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    disruption = conditions.get("DisruptionTarget", {})
    scheduled = conditions.get("PodScheduled", {})
    containers = status.get("containerStatuses") or ()
    worker = next((c for c in containers if c["name"] == names.WORKER_CONTAINER), containers[0] if containers else {})
    state = worker.get("state") or {}
    ended = state.get("terminated")
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
        deleted_at=_time(metadata.get("deletionTimestamp")),
        node_name=obj["spec"].get("nodeName", ""),
        running_since=_time((state.get("running") or {}).get("startedAt"))
        or (_time(status.get("startTime")) if status.get("phase") == "Running" else None),
        termination=None
        if ended is None
        else Termination(ended.get("exitCode", 0), ended.get("reason", ""), ended.get("message", "")),
        disruption=disruption.get("reason", "DisruptionTarget") if disruption.get("status") == "True" else None,
        unschedulable=scheduled.get("message", "")
        if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        else None,
        waiting=(state.get("waiting") or {}).get("reason"),
    )
