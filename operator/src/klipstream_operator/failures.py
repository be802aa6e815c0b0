"""Why an attempt failed: from what the kubelet, the Job controller and the worker said (design section 6)."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime

from klipstream_api import FailureClass
from klipstream_operator.workload import AttemptView, PodView, Termination, Waiting

INFRASTRUCTURE_LOSSES_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt's failure."""

    failure_class: FailureClass
    reason: str
    message: str
    exit_code: int | None = None

    @property
    def fingerprint(self) -> str:
        """Equal failures share it: class, reason and message without numbers, ids and addresses."""
        normal = re.sub(r"https?://\S+|[0-9a-f]{8,}|\d+", "#", self.message.lower())
        return hashlib.sha256(f"{self.failure_class}|{self.reason}|{normal}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What the worker left in its termination message (worker contract, JSON of at most 4 KiB)."""

    result_url: str | None = None
    error_code: str | None = None
    message: str = ""
    retryable: bool | None = None


def worker_report(termination: Termination | None) -> WorkerReport:
    """Parse a termination message; an image that writes plain text or nothing is understood as well."""
    if termination is None or not termination.message:
        return WorkerReport()
    try:
        said = json.loads(termination.message)
    except ValueError:
        return WorkerReport(message=termination.message.strip()[-1024:])
    if not isinstance(said, dict):
        return WorkerReport(message=termination.message.strip()[-1024:])
    url, code, retryable = said.get("result_url"), said.get("error_code"), said.get("retryable")
    return WorkerReport(
        result_url=url[:2048] if isinstance(url, str) else None,
        error_code=re.sub(r"[^A-Za-z0-9_.-]", "", code)[:64] if isinstance(code, str) else None,
        message=str(said.get("message") or "")[:1024],
        retryable=retryable if isinstance(retryable, bool) else None,
    )


def classify(attempt: AttemptView) -> Failure:
    """Class of an attempt that is over and did not succeed."""
    pod = attempt.ended_pod
    if pod is not None:
        return _classify_pod(pod)
    if attempt.job is not None and attempt.job.failed:
        reason = attempt.job.conditions["Failed"]
        if reason == "DeadlineExceeded":
            return Failure(FailureClass.TIMEOUT, "DeadlineExceeded", "The attempt ran into its time limit.")
        return Failure(
            FailureClass.INFRASTRUCTURE,
            "PodDeleted",
            "The worker's pod was deleted before it ended; no retry is used up.",
        )
    if attempt.job is not None and attempt.job.suspended:
        return Failure(
            FailureClass.INFRASTRUCTURE,
            "JobSuspended",
            "The attempt's Kubernetes Job was suspended by somebody else; no retry is used up.",
        )
    return Failure(
        FailureClass.INFRASTRUCTURE,
        "JobDeleted",
        "The attempt's Kubernetes Job was deleted; no retry is used up.",
    )


def _classify_pod(pod: PodView) -> Failure:
    """The rules in the order in which they win."""
    ended = pod.termination
    exit_code = None if ended is None else ended.exit_code
    if pod.disruption is not None:
        return Failure(
            FailureClass.INFRASTRUCTURE,
            pod.disruption,
            f"The pod was disrupted on node {pod.node_name or '(none)'}: {pod.message or pod.disruption}."
            " No retry is used up.",
            exit_code,
        )
    if pod.reason == "DeadlineExceeded":
        return Failure(
            FailureClass.TIMEOUT,
            "DeadlineExceeded",
            "The attempt ran longer than its timeoutSeconds.",
            exit_code,
        )
    if pod.reason == "Evicted":
        return Failure(
            FailureClass.DISK_FULL, "Evicted", pod.message[:1024] or "The kubelet evicted the pod.", exit_code
        )
    if pod.reason in ("NodeLost", "NodeShutdown", "Terminated", "NodeAffinity", "UnexpectedAdmissionError"):
        return Failure(FailureClass.INFRASTRUCTURE, pod.reason, pod.message[:1024] or "The node went away.", exit_code)
    if ended is None:
        return Failure(
            FailureClass.INFRASTRUCTURE,
            "NeverStarted",
            pod.message[:1024] or "The pod ended before its worker container ran; no retry is used up.",
        )
    if ended.reason == "OOMKilled":
        return Failure(
            FailureClass.OUT_OF_MEMORY,
            "OOMKilled",
            "The worker used more memory than its limit; raise the queue's or the job's memory.",
            exit_code,
        )
    report = worker_report(ended)
    if pod.deleted_at is not None and report.error_code is None and ended.exit_code in (137, 143):
        return Failure(
            FailureClass.INFRASTRUCTURE,
            "PodDeleted",
            "The worker's pod was deleted before it ended; no retry is used up.",
            exit_code,
        )
    message = report.message or f"The worker exited with code {ended.exit_code}."
    if report.retryable is False:
        return Failure(FailureClass.PERMANENT, report.error_code or "WorkerError", message, exit_code)
    return Failure(FailureClass.TRANSIENT, report.error_code or ended.reason or "WorkerError", message, exit_code)


@dataclass(frozen=True, slots=True)
class StartProblem:
    """What keeps a pod that has a node from starting its containers."""

    reason: str
    """The kubelet's word, such as ImagePullBackOff."""
    message: str
    """What the kubelet said, and what to do."""
    hopeless: bool
    """Only another worker template can help, so waiting is of no use."""
    since: datetime
    """When the pod was given its node: waiting for one does not count."""


# Kubernetes 1.34: pkg/kubelet/images/types.go, kuberuntime_container.go, sync_result.go and cri-api's errors.go.
_IMAGE = "Check the image's name, its registry and the pull secret in the queue's workerTemplate."
_CONFIGURATION = "Check that the Secrets and ConfigMaps that the workerTemplate names exist with the keys it names."
_RUNTIME = "Check command, mounts and security context in the queue's workerTemplate; the node's own log says more."
_REMEDIES = {
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "ImageInspectError": _IMAGE,
    "InvalidImageName": "Correct the image's name in the queue's workerTemplate.",
    "ErrImageNeverPull": "imagePullPolicy is Never and the node lacks the image: load it there, or change the policy.",
    "RegistryUnavailable": "The registry does not answer; check it and the node's way to it.",
    "SignatureValidationFailed": "Sign the image, or change the node's signature policy.",
    "CreateContainerConfigError": _CONFIGURATION,
}
HOPELESS_STARTS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})


def start_problem(pod: PodView, now: datetime) -> StartProblem | None:
    """What keeps the pod's containers from starting; None while nothing is known to be wrong.

    `now` stands in for `since` where the pod says neither when it was scheduled nor when it was created.
    """
    troubled = next((each for each in pod.waiting if each.reason not in _ON_ITS_WAY), None)
    if troubled is None:
        return None
    return StartProblem(
        reason=troubled.reason[:128],
        message=_start_message(troubled, pod.node_name),
        hopeless=troubled.reason in HOPELESS_STARTS,
        since=pod.scheduled_at or pod.created_at or now,
    )


def _start_message(troubled: Waiting, node_name: str) -> str:
    remedy = _REMEDIES.get(troubled.reason, _RUNTIME)
    said = f": {troubled.message.strip()}" if troubled.message.strip() else ""
    where = f"Container {troubled.container} does not start on node {node_name or '(none)'}: {troubled.reason}"
    return f"{(where + said)[: 1022 - len(remedy)].rstrip('.')}. {remedy}"


# Kubernetes 1.34: the reasons of pkg/scheduler/framework/plugins/*, in the words of a person; the first that fits wins.
_SHORTAGES = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"Insufficient (\S+)", r"\1"),
        (r"Too many pods", "pods"),
        (r"(?i)persistentvolume|pvc\(s\)|volume|no available disk|free storage", "volume"),
        (r"taint", "taints"),
        (r"node affinity|requested node name|affinity terms conflict", "node affinity"),
        (r"anti-affinity|pod affinity", "pod affinity"),
        (r"topology spread", "topology spread"),
        (r"free ports", "ports"),
        (r"were unschedulable|unknown conditions|no nodes available", "schedulable nodes"),
        (r"(?i)resource ?claim|device|allocate|cannot fit resource", "devices"),
        (r"scheduling gates", "scheduling gates"),
    )
)


def missing_resources(message: str) -> tuple[str, ...]:
    """What the scheduler misses, from its message on an unschedulable pod, each once and in its order.

    "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: ..." gives
    ("cpu", "taints"). At most 8 words of at most 64 characters; () where the message says nothing known.
    """
    # What follows tells why neither devices to be freed nor preemption helps, in the same words.
    filters = re.split(r" (?:no new claims to deallocate|still not schedulable|preemption:)", message)[0]
    said = re.sub(r"^0/\d+ nodes are available: ", "", filters)
    found: dict[str, None] = {}
    for part in re.split(r", (?=\d+ )", said):
        for pattern, word in _SHORTAGES:
            if match := pattern.search(part):
                found[match.expand(word).rstrip(".")[:64]] = None
                break
    return tuple(found)[:8]
