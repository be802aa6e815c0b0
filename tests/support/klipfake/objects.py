"""Custom resources, Kubernetes Jobs and pods as the operator's pure decisions see them, for tables of cases."""

from datetime import UTC, datetime
from typing import Any

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_operator.workload import AttemptView, JobView, PodView, Termination

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "0b8f3c1e-0000-4000-8000-000000000001"
QUEUE = AnalysisQueue.from_wire({
    "metadata": {"name": "q", "namespace": "n", "uid": "q1", "resourceVersion": "5"},
    "spec": {"workerTemplate": {"spec": {"containers": [{"name": "w", "image": "i"}]}}},
})  # fmt: skip


def job(status: dict[str, Any] | None = None, **spec: Any) -> AnalysisJob:
    accepted = {"sequence": 7, "queueName": "q", "queuedAt": "2026-01-02T03:00:00Z"}
    return AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": UID, "resourceVersion": "9", "generation": 1},
        "spec": {"videoUrl": "https://example.com/v.mp4"} | spec,
        "status": accepted | (status or {}),
    })  # fmt: skip


def running(phase: str = "Running", attempt: int = 1, **status: Any) -> dict[str, Any]:
    entry = {"attempt": attempt, "jobName": f"{UID}-a{attempt}", "jobUID": "j1", "startedAt": "2026-01-02T03:01:00Z"}
    return {"phase": phase, "attempt": attempt, "attempts": [entry], "startedAt": "2026-01-02T03:01:00Z"} | status


def kube_job(attempt: int = 1, **changes: Any) -> JobView:
    values: dict[str, Any] = {
        "uid": "j1", "name": f"{UID}-a{attempt}", "namespace": "n", "resource_version": 3, "job_uid": UID,
        "attempt": attempt, "owner_uid": UID, "suspend": False, "pods_left": 1, "conditions": {},
    }  # fmt: skip
    return JobView(**values | changes)


def pod(phase: str = "Running", **changes: Any) -> PodView:
    values: dict[str, Any] = {
        "uid": "p1", "name": "p", "namespace": "n", "resource_version": 4, "job_uid": UID, "attempt": 1,
        "owner_uid": "j1", "phase": phase, "reason": "", "message": "", "deleted_at": None, "node_name": "node",
        "running_since": NOW, "termination": None, "disruption": None, "unschedulable": None,
    }  # fmt: skip
    return PodView(**values | changes)


def queue(status: dict[str, Any] | None = None, **spec: Any) -> AnalysisQueue:
    """A queue called q, generation 1 seen."""
    template = {"spec": {"containers": [{"name": "w", "image": "i"}]}}
    return AnalysisQueue.from_wire({
        "metadata": {"name": "q", "namespace": "n", "uid": "q1", "resourceVersion": "5", "generation": 1},
        "spec": {"workerTemplate": template} | spec,
        "status": {"initialized": True, "observedGeneration": 1} | (status or {}),
    })  # fmt: skip


def view(job_view: JobView | None = None, *pods: PodView, gone: bool = False) -> AttemptView:
    """What is known of an attempt. That there is no pod was read live, where none is given."""
    return AttemptView(job=job_view, pods={each.uid: each for each in pods}, job_gone=gone, pods_gone=not pods)


def ended(code: int, reason: str = "Error", **changes: Any) -> PodView:
    return pod("Succeeded" if code == 0 else "Failed", termination=Termination(code, reason, ""), **changes)


SUSPENDED = kube_job(suspend=True, pods_left=0, conditions={"Suspended": "JobSuspended"})
