"""Guards of writes, and knowledge that is older than what is known already."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from klipsim.planted.bug import Bug, Swaps, swap
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_kube import JOBS, PODS, Client
from klipstream_operator import lifecycle, patches, queue_writer, reconciler, runtime, status_writer, sweep, workload
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.store import Store, version
from klipstream_operator.sweep import Sweep
from klipstream_operator.workload import JobView, PodView


def _without_version(*args: Any) -> dict[str, Any] | None:
    patch = patches.status_patch(*args)
    if patch is not None:
        del patch["metadata"]["resourceVersion"]
    return patch


def _job_changes_unguarded() -> Swaps:
    patch = Client.patch

    async def unguarded(self: Client, resource: Any, name: str, namespace: str, body: Any, **more: Any) -> Any:
        if resource == JOBS:
            guards = ("resourceVersion", "uid")
            body = body | {"metadata": {key: v for key, v in body["metadata"].items() if key not in guards}}
        return await patch(self, resource, name, namespace, body, **more)

    return [swap(Client, "patch", unguarded)]


def _no_fencing_off() -> Swaps:
    go_on, view_job = lifecycle._go_on, workload.view_job

    def at_once(*args: Any) -> lifecycle.Step | None:
        step = go_on(*args)
        return None if isinstance(step, lifecycle.FenceOff) else step

    def as_if_fenced(obj: dict[str, Any]) -> JobView | None:
        view = view_job(obj)
        return None if view is None else replace(view, fenced=True)

    readers = (reconciler, runtime, sweep)
    return [swap(lifecycle, "_go_on", at_once), *(swap(module, "view_job", as_if_fenced) for module in readers)]


def _older_jobs_taken() -> Swaps:
    put = Store.put_job

    def any_version(self: Store, job: AnalysisJob, now: datetime) -> bool:
        old = self.jobs.get(job.uid)
        if old is not None and version(old) > version(job):
            self.jobs[job.uid] = old.model_copy(update={"metadata": _ancient(old.metadata)})
        return put(self, job, now)

    return [swap(Store, "put_job", any_version)]


def _older_queues_taken() -> Swaps:
    put = Store.put_queue

    def any_version(self: Store, queue: AnalysisQueue, now: datetime) -> bool:
        old = self.queues.get(queue.key)
        if old is not None and version(old) > version(queue):
            self.queues[queue.key] = old.model_copy(update={"metadata": _ancient(old.metadata)})
        return put(self, queue, now)

    return [swap(Store, "put_queue", any_version)]


def _ancient(metadata: Any) -> Any:
    return metadata.model_copy(update={"resource_version": "0"})


def _older_workloads_taken() -> Swaps:
    put = Store.put_workload

    def any_version(self: Store, view: JobView | PodView) -> None:
        attempt = self.attempts.get((view.job_uid, view.attempt))
        if attempt is not None and isinstance(view, JobView) and attempt.job is not None:
            attempt.job = replace(attempt.job, resource_version=0)
        elif attempt is not None and view.uid in attempt.pods:
            attempt.pods[view.uid] = replace(attempt.pods[view.uid], resource_version=0)
        put(self, view)

    return [swap(Store, "put_workload", any_version)]


def _cache_trusted() -> Swaps:
    async def from_cache(self: Reconciler, uid: str, namespace: str, attempt: int) -> None:
        view = self.store.attempt((uid, attempt))
        if view.job is None and not view.live_pods:
            self.store.mark_gone((uid, attempt))
        elif view.job is not None and view.job.over and not view.pods:
            self.store.mark_without_pods((uid, attempt))

    return [swap(Reconciler, "_read_live", from_cache)]


def _deletion_unconfirmed() -> Swaps:
    async def believed(self: Reconciler, uid: str) -> None:
        for key in list(self.store.reservations.get(uid, {})):
            self.store.deleted.add(uid)
            self.store.on_queue(key)

    return [swap(Reconciler, "_confirm_deleted", believed)]


def _lost_pod_believed_ended() -> Swaps:
    async def believed(self: Reconciler, uid: str, pod: PodView) -> None:
        later = pod.resource_version + 1
        self.store.put_workload(replace(pod, phase="Failed", reason="NodeLost", resource_version=later))

    return [swap(Reconciler, "_fail_lost_pod", believed)]


def _sweep_without_pods() -> Swaps:
    workloads = Sweep._workloads

    async def only_jobs(self: Sweep, resource: Any, *args: Any) -> None:
        if resource is not PODS:
            await workloads(self, resource, *args)

    return [swap(Sweep, "_workloads", only_jobs)]


BUGS = (
    Bug("queues are written without resourceVersion",
        ("overcommit", "paused", "released-early", "one-reservation", "attempt-once", "waiting-only", "reserved-first",
         "name-occupied", "inversion", "limit", "slot-kept"), None,
        lambda: [swap(queue_writer, "status_patch", _without_version)]),
    Bug("statuses of jobs are written without resourceVersion",
        ("settled", "terminal", "retries", "losses", "progress", "counters", "sequence", "cancel", "waiting-only",
         "attempt-once", "reserved-first", "success", "unfinished", "one-job", "announced"), None,
        lambda: [swap(status_writer, "status_patch", _without_version)]),
    Bug("Jobs are changed without resourceVersion", ("reserved-first", "cancel", "limit", "one-pod"), None,
        _job_changes_unguarded),
    Bug("a suspended Job is not fenced off", ("reserved-first", "cancel", "limit", "one-pod"), None, _no_fencing_off),
    Bug("older versions of jobs are taken in",
        ("waiting-only", "attempt-once", "retry-early", "inversion", "cancel", "fifo"), 23, _older_jobs_taken),
    Bug("older versions of queues are taken in", ("reserved-first", "cancel", "draining", "full"), None,
        _older_queues_taken),
    Bug("older versions of Jobs and pods are taken in", ("settled", "released-early", "reserved-first"), None,
        _older_workloads_taken),
    Bug("what the cache does not hold counts as gone", ("settled", "released-early", "one-pod", "one-job"), None,
        _cache_trusted),
    Bug("an AnalysisJob that the cache does not hold counts as deleted",
        ("released-early", "name-occupied", "reserved-first"), None, _deletion_unconfirmed),
    Bug("a lost pod counts as ended without being ended", ("settled", "released-early"), 43, _lost_pod_believed_ended),
    Bug("the sweep reads no pods", ("unfinished", "slot-kept"), None, _sweep_without_pods),
)  # fmt: skip
