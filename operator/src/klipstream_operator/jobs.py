"""The Kubernetes Job of one attempt, built from the queue's worker template (pure)."""

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from klipstream_api import AnalysisJob, AnalysisQueue, attempt_job_name, names
from klipstream_operator.limits import limits_of
from klipstream_operator.spans import trace_of

CONTRACT_MOUNT = "/var/run/klipstream"
TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class WorkerContract:
    """Where workers reach the operator."""

    progress_url: str
    ca_pem: str | None = None
    """Certificate authority of the progress URL; None for the system's authorities or plain http."""
    trace_ratio: float | None = None
    """Share of sampled traces; None where workers are told of no trace."""


def make_job(
    job: AnalysisJob, queue: AnalysisQueue, attempt: int, contract: WorkerContract, *, suspended: bool = False
) -> dict[str, Any]:
    """The Job of an attempt: one pod, no retries of its own, owned by the AnalysisJob.

    A suspended one runs nothing: it occupies the name, so that a late create of another operator fails.
    The time limit stands on the pod and not on the Job, so that waiting for a node does not count.
    """
    pod_spec = _pod_spec(job, queue, attempt, contract)
    labels = {
        names.JOB_UID_LABEL: job.uid,
        names.ATTEMPT_LABEL: str(attempt),
        names.QUEUE_LABEL: queue.metadata.name,
        "app.kubernetes.io/managed-by": "klipstream-operator",
    }
    # Not on one that only occupies the name: Kueue would start it.
    kueue = {names.KUEUE_QUEUE_LABEL: queue.spec.kueue.queue_name} if queue.spec.kueue and not suspended else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": attempt_job_name(job.uid, attempt),
            "namespace": job.metadata.namespace,
            "labels": labels | kueue,
            "annotations": {
                names.JOB_NAME_LABEL: job.metadata.name,
                names.TEMPLATE_ANNOTATION: _digest(pod_spec),
            },
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": "AnalysisJob",
                    "name": job.metadata.name,
                    "uid": job.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "suspend": suspended,
            "template": {
                "metadata": {
                    "labels": (queue.spec.worker_template.labels or {}) | labels,
                    "annotations": _annotations(job, queue, contract),
                },
                "spec": pod_spec,
            },
        },
    }


def _digest(pod_spec: dict[str, Any]) -> str:
    """Tells whether a suspended Job still is what would be made today."""
    return hashlib.sha256(json.dumps(pod_spec, sort_keys=True).encode()).hexdigest()[:16]


def _annotations(job: AnalysisJob, queue: AnalysisQueue, contract: WorkerContract) -> dict[str, str]:
    """What the pod reads as files through the downward API, so that no ConfigMap has to be made and removed."""
    annotations = dict(queue.spec.worker_template.annotations or {})
    annotations[names.JOB_NAME_LABEL] = job.metadata.name
    annotations[names.PARAMS_ANNOTATION] = json.dumps(job.spec.params or {}, sort_keys=True)
    if contract.ca_pem is not None:
        annotations[names.PROGRESS_CA_ANNOTATION] = contract.ca_pem
    return annotations


def _pod_spec(job: AnalysisJob, queue: AnalysisQueue, attempt: int, contract: WorkerContract) -> dict[str, Any]:
    spec = copy.deepcopy(queue.spec.worker_template.spec)
    spec["restartPolicy"] = "Never"
    spec["automountServiceAccountToken"] = False
    spec["enableServiceLinks"] = False
    spec["activeDeadlineSeconds"] = limits_of(job, queue).timeout_seconds
    worker = spec["containers"][0]
    worker["name"] = names.WORKER_CONTAINER
    worker["env"] = [*worker.get("env", ()), *_environment(job, queue, attempt, contract)]
    worker["volumeMounts"] = [
        *worker.get("volumeMounts", ()),
        {"name": "klipstream-contract", "mountPath": CONTRACT_MOUNT, "readOnly": True},
    ]
    worker.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    if job.spec.resources is not None:
        worker["resources"] = (worker.get("resources") or {}) | job.spec.resources.to_wire()
    spec["volumes"] = [*spec.get("volumes", ()), _contract_volume(contract)]
    results = queue.spec.results
    if results is not None and results.claim_name is not None:
        spec["volumes"].append(
            {"name": "klipstream-results", "persistentVolumeClaim": {"claimName": results.claim_name}}
        )
        worker["volumeMounts"].append({"name": "klipstream-results", "mountPath": urlsplit(results.url).path})
    return spec


def _environment(
    job: AnalysisJob, queue: AnalysisQueue, attempt: int, contract: WorkerContract
) -> list[dict[str, Any]]:
    progress = job.status.progress
    values: dict[str, str | None] = {
        "ANALYSIS_JOB_ID": job.job_id,
        "ANALYSIS_ATTEMPT": str(attempt),
        "ANALYSIS_VIDEO_ID": job.spec.video_id,
        "ANALYSIS_PARAMS_FILE": f"{CONTRACT_MOUNT}/params.json",
        "ANALYSIS_PROGRESS_URL": contract.progress_url,
        "ANALYSIS_TOKEN_FILE": f"{CONTRACT_MOUNT}/token",
        "ANALYSIS_CA_FILE": f"{CONTRACT_MOUNT}/ca.crt" if contract.ca_pem is not None else None,
        "ANALYSIS_CHECKPOINT": progress.checkpoint if progress is not None else None,
        "ANALYSIS_ALLOWED_SOURCES": ",".join(queue.spec.sources.allowed_networks) or None,
        "ANALYSIS_RESULTS": queue.spec.results.url if queue.spec.results is not None else None,
        "ANALYSIS_SEALED": "true" if job.spec.sealed is not None else None,
        # The name that OpenTelemetry's tools know, so without our prefix.
        "TRACEPARENT": _traceparent(job, attempt, contract.trace_ratio),
    }
    # "$(NAME)" in a value would be expanded by the kubelet; "$$" stands for one dollar.
    entries: list[dict[str, Any]] = [
        {"name": name, "value": value.replace("$", "$$")} for name, value in values.items() if value is not None
    ]
    if job.spec.video_url is not None:
        entries.append({"name": "ANALYSIS_VIDEO_URL", "value": job.spec.video_url.replace("$", "$$")})
    elif job.spec.video_url_from is not None:
        entries.append({"name": "ANALYSIS_VIDEO_URL", "valueFrom": {"secretKeyRef": job.spec.video_url_from.to_wire()}})
    return entries


def _traceparent(job: AnalysisJob, attempt: int, ratio: float | None) -> str | None:
    return None if ratio is None else trace_of(job, job.status.sequence, ratio).attempt(attempt).traceparent


def _contract_volume(contract: WorkerContract) -> dict[str, Any]:
    """Token, parameters and certificate authority in one projected volume."""
    files = {"params.json": names.PARAMS_ANNOTATION}
    if contract.ca_pem is not None:
        files["ca.crt"] = names.PROGRESS_CA_ANNOTATION
    items = [
        {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}
        for path, annotation in files.items()
    ]
    token = {"path": "token", "audience": names.PROGRESS_AUDIENCE, "expirationSeconds": TOKEN_SECONDS}
    return {
        "name": "klipstream-contract",
        "projected": {"sources": [{"serviceAccountToken": token}, {"downwardAPI": {"items": items}}]},
    }
