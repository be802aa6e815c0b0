"""Why an attempt failed: from what the kubelet, the Job controller and the worker said (design section 6)."""

import hashlib
import json
import re
from dataclasses import dataclass

from klipstream_api import FailureClass
from klipstream_operator.workload import AttemptView, PodView, Termination

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
