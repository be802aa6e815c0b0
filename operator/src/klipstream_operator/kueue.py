"""Stopping a Kubernetes Job, which Kueue may have taken charge of.

Kueue resumes a Job that somebody else suspends, as long as its Workload is admitted; and a Job that loses Kueue's label
keeps its quota (Kueue 0.17, pkg/controller/jobframework/reconciler.go). So its Workload is deactivated: Kueue then
suspends the Job, gives the quota back, and never starts it again.
"""

from datetime import datetime
from typing import Any

from klipstream_api import names
from klipstream_api.meta import rfc3339
from klipstream_kube import Client, NotFound, Resource
from klipstream_operator.leadership import Fence
from klipstream_operator.workload import JobView

WORKLOADS = tuple(Resource("kueue.x-k8s.io", version, "workloads", "Workload") for version in ("v1beta2", "v1beta1"))
JOB_UID = "kueue.x-k8s.io/job-uid"


class NotYetTaken(Exception):
    """Kueue suspended a Job and has made no Workload of it yet: nothing can be told to stay inactive."""


async def stopping(client: Client, job: JobView, now: datetime, fence: Fence | None) -> dict[str, Any]:
    """What to patch a Job with so that it stops, after Kueue was told. Raises NotYetTaken, ApiError, Unreachable."""
    suspend: dict[str, Any] = {"spec": {"suspend": True}}
    if not job.held:
        return suspend
    withdrawn = {"metadata": {"annotations": {names.WITHDRAWN_ANNOTATION: rfc3339(now)}}}
    told = await _deactivate(client, job, fence)
    if not told and job.suspend:
        raise NotYetTaken(f"Kueue has no Workload of the Kubernetes Job {job.name} yet, so it cannot be stopped")
    # One that runs without a Workload is none of Kueue's: it is not installed, or leaves this namespace alone.
    return withdrawn if told else suspend | withdrawn


async def _deactivate(client: Client, job: JobView, fence: Fence | None) -> bool:
    """Whether there was a Workload to deactivate."""
    for resource in WORKLOADS:
        try:
            found, _ = await client.list(resource, job.namespace, label_selector=f"{JOB_UID}={job.uid}")
        except NotFound:
            continue  # no Kueue, or one that does not know this version
        for workload in found:
            body = {"spec": {"active": False}}
            await client.patch(resource, workload["metadata"]["name"], job.namespace, body, before_send=fence)
        return bool(found)
    return False
