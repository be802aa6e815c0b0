"""What the cases create."""

from __future__ import annotations

from typing import Any

from klipsim.objects import Object
from klipstream_kube import Resource

GROUP = "analysis.klipstream.io"
ANALYSIS_JOBS = Resource(GROUP, "v1alpha1", "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(GROUP, "v1alpha1", "analysisqueues", "AnalysisQueue")
URL = "https://example.com/v.mp4"
NODE = "nowhere"
"""What pods are bound to. In a real cluster it has to exist, else its pods are collected after a while."""
CONTAINERS = [{"name": "worker", "image": "none"}]


def analysis_job(name: str = "first", spec: Object | None = None, **metadata: Any) -> Object:
    """A submission."""
    return {
        "apiVersion": ANALYSIS_JOBS.api_version, "kind": "AnalysisJob",
        "metadata": {"name": name} | metadata, "spec": {"videoUrl": URL} | (spec or {}),
    }  # fmt: skip


def analysis_queue(name: str = "queue", spec: Object | None = None, **metadata: Any) -> Object:
    """A queue."""
    template = {"workerTemplate": {"spec": {"containers": CONTAINERS}}}
    return {
        "apiVersion": ANALYSIS_QUEUES.api_version, "kind": "AnalysisQueue",
        "metadata": {"name": name} | metadata, "spec": template | (spec or {}),
    }  # fmt: skip


def kubernetes_job(name: str = "work", spec: Object | None = None, **metadata: Any) -> Object:
    """A Job as the operator makes them, that no controller touches. Without labels it would get its template's."""
    own = {"backoffLimit": 0, "completions": 1, "parallelism": 1, "podReplacementPolicy": "Failed",
           "managedBy": "example.com/nobody", "template": pod_template()}  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {"ours": "yes"}} | metadata,
            "spec": own | (spec or {})}  # fmt: skip


def pod_template(labels: dict[str, str] | None = None) -> Object:
    """What the pod of a Job is made from."""
    spec = {"containers": CONTAINERS, "restartPolicy": "Never", "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 7}  # fmt: skip
    return {"metadata": {"labels": labels or {}}, "spec": spec}


def pod(name: str = "pod", **metadata: Any) -> Object:
    """A pod of nobody."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name} | metadata, "spec": pod_template()["spec"]}


def lease(name: str = "lease", **spec: Any) -> Object:
    """A Lease."""
    own = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.000000Z"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": own | spec}
