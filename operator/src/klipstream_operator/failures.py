"""Why an attempt failed: from what the kubelet, the Job controller and the worker said."""

import hashlib
import json
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from klipstream_api import FailureClass, names
from klipstream_operator.workload import AttemptView, JobView, PodView, Termination, Waiting

INFRASTRUCTURE_LOSSES_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt's failure."""

    failure_class: FailureClass
    reason: str
    message: str
    exit_code: int | None = None
    node_name: str = ""
    """The node that the message may name, always as "node NAME"."""

    @property
    def fingerprint(self) -> str:
        """Equal failures share it: class, reason and message without the node, numbers, ids and addresses."""
        message = self.message.lower().replace(f"node {self.node_name.lower()}", "node")
        normal = re.sub(r"https?://\S+|[0-9a-f]{8,}|\d+", "#", message)
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
    job, pod = attempt.job, attempt.ended_pod
    if pod is not None:
        failure = _classify_pod(pod)
        if failure.reason == "PodDeleted" and job is not None and (job.withdrawn or job.suspend):
            return _stopped_by_others(job, pod)
        return failure
    if job is not None and job.failed and job.conditions["Failed"] == "DeadlineExceeded":
        return Failure(FailureClass.TIMEOUT, "DeadlineExceeded", "The attempt ran into its time limit.")
    if job is not None and job.failed:
        return _infrastructure(None, "PodDeleted", "The worker's pod was deleted before it ended.")
    if job is not None and (job.withdrawn or job.suspended):
        return _stopped_by_others(job, None)
    return _infrastructure(None, "JobDeleted", "The attempt's Kubernetes Job was deleted.")


def _stopped_by_others(job: JobView, pod: PodView | None) -> Failure:
    if job.withdrawn:
        return _infrastructure(pod, "Preempted", f"Kueue's queue {job.queued_in} took the attempt's place away.")
    return _infrastructure(pod, "JobSuspended", "The attempt's Kubernetes Job was suspended by somebody else.")


def _classify_pod(pod: PodView) -> Failure:
    """The rules in the order in which they win: from outside, from the kubelet, from the containers themselves."""
    ended = pod.culprit
    if pod.disruption is not None and not _ended_before(ended, pod.disrupted_at):
        return _disrupted(pod)
    if pod.reason == "DeadlineExceeded":
        return _timed_out(pod)
    if pod.reason == "Evicted" and not any(said in pod.message for said in _NODE_PRESSURE):
        message = f"{pod.message.strip() or 'The pod used more disk than it may.'} {_DISK_REMEDY}"
        return Failure(FailureClass.DISK_FULL, "Evicted", message, _exit_code(ended), pod.node_name)
    if pod.reason:
        return _infrastructure(pod, pod.reason, f"Node {pod.node_name} gave the pod up: {pod.message.strip()}")
    if ended is None and pod.deletion_requested_at is not None:
        return _infrastructure(pod, "PodDeleted", "The worker's pod was deleted before it ran.")
    if ended is None:
        return _infrastructure(pod, "NeverStarted", "The pod ended before its worker container ran.")
    if ended.reason in _LOST_TRACK:
        what = f"Node {pod.node_name} restarted or lost container {ended.container}: {ended.message or ended.reason}."
        return _infrastructure(pod, "ContainerLost", what)
    if ended.reason == "OOMKilled":
        return Failure(FailureClass.OUT_OF_MEMORY, "OOMKilled", _oom_message(ended), ended.exit_code, pod.node_name)
    report = worker_report(ended)
    if report.retryable is False:
        message = report.message or _exit_message(ended)
        reason = report.error_code or "WorkerError"
        return Failure(FailureClass.PERMANENT, reason, message, ended.exit_code, pod.node_name)
    if pod.deletion_requested_at is not None and not _ended_before(ended, pod.deletion_requested_at):
        return _infrastructure(pod, "PodDeleted", "The worker's pod was deleted before it ended.")
    if ended.reason in _NOT_STARTED:
        said = f"Container {ended.container} could not be started: {ended.message.strip()[:700].rstrip('.')}."
        return Failure(FailureClass.TRANSIENT, "StartError", f"{said} {_RUNTIME}", ended.exit_code, pod.node_name)
    reason = report.error_code or ended.reason or "WorkerError"
    if ended.container != names.WORKER_CONTAINER:
        reason = report.error_code or "ContainerFailed"
    return Failure(
        FailureClass.TRANSIENT, reason, report.message or _exit_message(ended), ended.exit_code, pod.node_name
    )


CLOCK_SKEW = timedelta(seconds=5)
"""A node's clock may be that far behind the control plane's."""

# Kubernetes 1.34, pkg/kubelet/eviction/helpers.go: a node that is short of something, against a pod that is over a
# limit of its own. The former sets DisruptionTarget, but not on a pod that it does not even admit. The containers'
# statuses tell nothing: those of an evicted pod may be gone, as if none had ever run.
_NODE_PRESSURE = ("The node was low on resource", "The node had condition")
_DISK_REMEDY = "Raise sizeLimit or ephemeral-storage in the queue's workerTemplate, or keep less on the pod's disk."
_LOST_TRACK = frozenset({"ContainerStatusUnknown", "Unknown"})
"""What the kubelet and containerd say of a container that was there before the node, or containerd, went down."""
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})

# Kubernetes 1.34: the reasons of DisruptionTarget (api/core/v1/types.go), and our own for a lost node.
_DISRUPTIONS = {
    "PreemptionByScheduler": "A pod of a higher PriorityClass took its place on node {node}. Give the queue's"
    " workerTemplate a priorityClassName if that happens often.",
    "DeletionByTaintManager": "Node {node} stopped answering or was closed (a NoExecute taint).",
    "EvictionByEvictionAPI": "It was evicted from node {node}, as kubectl drain does.",
    "DeletionByPodGC": "Node {node} was removed from the cluster.",
    "NodeLost": "Node {node} did not answer.",
}


def _infrastructure(pod: PodView | None, reason: str, what: str) -> Failure:
    """A loss that is not the worker's fault."""
    exit_code, node_name = (None, "") if pod is None else (_exit_code(pod.culprit), pod.node_name)
    message = f"{what[:980].rstrip()} No retry is used up."
    return Failure(FailureClass.INFRASTRUCTURE, reason[:128], message, exit_code, node_name)


def _disrupted(pod: PodView) -> Failure:
    """DisruptionTarget is set by whoever ends a pod for reasons that are not the pod's own."""
    assert pod.disruption is not None
    said = (pod.message or pod.disruption_message).strip()
    node = pod.node_name or "(none)"
    known = _DISRUPTIONS.get(pod.disruption)
    what = known.format(node=node) if known else f"The pod was ended on node {node}: {said or pod.disruption}"
    return _infrastructure(pod, pod.disruption, what)


def _timed_out(pod: PodView) -> Failure:
    limit = "timeoutSeconds" if pod.deadline_seconds is None else f"timeoutSeconds ({pod.deadline_seconds} s)"
    if not pod.never_ran:
        message = (
            f"The attempt ran longer than its {limit}. Raise it on the job or on the queue, or let the worker save"
            " checkpoints so that the next attempt goes on from there."
        )
        return Failure(FailureClass.TIMEOUT, "DeadlineExceeded", message, _exit_code(pod.culprit), pod.node_name)
    waited = "".join(f" Container {each.container}: {each.reason}." for each in pod.waiting)
    message = (
        f"The attempt's {limit} passed, and no container is known to have run on node {pod.node_name}.{waited}"
        " Check the image, and that the volumes, Secrets and ConfigMaps of the queue's workerTemplate exist."
    )
    return Failure(FailureClass.TIMEOUT, "NeverStarted", message[:1024], None, pod.node_name)


def _ended_before(ended: Termination | None, moment: datetime | None) -> bool:
    """Whether a container had ended by itself before that moment."""
    if ended is None or ended.finished_at is None or moment is None:
        return False
    return ended.finished_at + CLOCK_SKEW < moment


def _exit_code(ended: Termination | None) -> int | None:
    return None if ended is None else ended.exit_code


def _oom_message(ended: Termination) -> str:
    """The kubelet says OOMKilled too where a child process was killed, whatever the container then exited with."""
    if ended.container == names.WORKER_CONTAINER:
        return (
            "The worker used more memory than its limit. Raise it on the job (spec.resources) or in the queue's"
            " workerTemplate."
        )
    return f"Container {ended.container} used more memory than its limit. Raise it in the queue's workerTemplate."


def _exit_message(ended: Termination) -> str:
    """For a container that says nothing itself."""
    who = "The worker" if ended.container == names.WORKER_CONTAINER else f"Container {ended.container}"
    hint = "its log may say why"
    if ended.exit_code == 128 + signal.SIGKILL:
        hint = "something killed it: often memory, of the whole node or of a child process"
    else:
        with suppress(ValueError):  # most exit codes are no signal's
            hint = f"signal {signal.Signals(ended.exit_code - 128).name} ended it; {hint}"
    return f"{who} exited with code {ended.exit_code}; {hint}."


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


def start_problem(pod: PodView, now: datetime) -> StartProblem | None:
    """What keeps the pod's containers from starting; None while nothing is known to be wrong.

    `now` stands in for `since` where the pod says neither when it was scheduled nor when it was created.
    """
    troubled = pod.trouble
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
    found: dict[str, None] = {}
    for part in re.split(r", (?=\d+ )", filters):
        for pattern, word in _SHORTAGES:
            if match := pattern.search(part):
                found[match.expand(word).rstrip(".")[:64]] = None
                break
    return tuple(found)[:8]
