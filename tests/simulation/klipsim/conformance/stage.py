"""A Job where a scripted hand plays scheduler and kubelet, and what the controllers do is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import orjson

from klipsim.conformance.bodies import ANALYSIS_JOBS, NODE, analysis_job, kubernetes_job
from klipsim.conformance.transcript import conditions_of
from klipsim.objects import Object
from klipstream_kube import JOBS, PODS, Client, NotFound, Resource

TRACKING = "batch.kubernetes.io/job-tracking"
PATIENCE_SECONDS = 100.0
QUIET_SECONDS = 6.0
GONE: Object = {"gone": True}
NOBODY_UID = "00000000-0000-4000-8000-000000000000"


class Stage:
    """The only Job of a namespace, its pods, and the states that each of them went through."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.job: Object | None = None
        self.pods: list[Object | None] = []
        self._states: dict[str, list[Object]] = {}
        self._names: dict[str, str] = {}
        self._changed = asyncio.Event()

    # --- recording ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[Stage]:
        """Follow Jobs and pods from now on."""
        versions = [(await self.client.list(resource, self.namespace))[1] for resource in (JOBS, PODS)]
        tasks = [
            asyncio.create_task(self._follow(resource, version))
            for resource, version in zip((JOBS, PODS), versions, strict=True)
        ]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, resource: Resource, version: str) -> None:
        while True:
            stream = self.client.watch(resource, self.namespace, resource_version=version)
            async with aclosing(stream) as events:
                async for type_, obj in events:
                    version = obj["metadata"]["resourceVersion"]
                    if type_ != "BOOKMARK":
                        self._saw(resource, obj, gone=type_ == "DELETED")

    def _saw(self, resource: Resource, obj: Object, *, gone: bool) -> None:
        uid, now = obj["metadata"]["uid"], None if gone else obj
        if uid not in self._names:
            kind = "Job" if resource is JOBS else "pod"
            self._names[uid] = f"{kind} {sum(name.startswith(kind) for name in self._names.values()) + 1}"
            if resource is PODS:
                self.pods.append(now)
        elif resource is PODS:
            self.pods[int(self._names[uid].split()[1]) - 1] = now
        if resource is JOBS:
            self.job = now
        state = GONE if gone else _job_state(obj) if resource is JOBS else _pod_state(obj)
        states = self._states.setdefault(self._names[uid], [])
        if not states or states[-1] != state:
            states.append(state)
        self._changed.set()

    async def until(self, condition: Callable[[], Any], patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds of what was seen."""
        async with asyncio.timeout(patience_seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def quiet(self, seconds: float = QUIET_SECONDS) -> None:
        """Wait until nothing has changed for a while."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return

    def transcript(self) -> list[str]:
        """The states of each object, in order.

        Where the Job was deleted, its controller lets its pods go and the garbage collector deletes them, in either
        order; whether a pod is held is then left out.
        """
        lines = []
        for name in sorted(self._states):
            last: Object = {}
            for state in self._states[name]:
                if self.job is None and "held" in state:
                    state = {key: value for key, value in state.items() if key != "held"}
                if state != last:
                    lines.append(f"{name}: {orjson.dumps(state, option=orjson.OPT_SORT_KEYS).decode()}")
                last = state
        return lines

    def left(self) -> list[str]:
        """What there is in the end."""
        return [f"Jobs: {int(self.job is not None)}", f"pods: {sum(pod is not None for pod in self.pods)}"]

    # --- what is asked of it -----------------------------------------------------------------------------------

    def true(self, condition: str) -> bool:
        """Whether the Job has a condition."""
        return self.job is not None and condition in conditions_of(self.job)

    @property
    def pod(self) -> Object:
        """The last pod."""
        pod = self.pods[-1]
        assert pod is not None
        return pod

    # --- what the operator and users do ------------------------------------------------------------------------

    async def begin(self, *, suspend: bool = False, owner: str = "") -> None:
        """Create the Job, owned by an AnalysisJob; `owner` may name a uid that nothing has."""
        if not owner:
            created = await self.client.create(ANALYSIS_JOBS, analysis_job(), self.namespace)
            owner = created["metadata"]["uid"]
        reference = {
            "apiVersion": ANALYSIS_JOBS.api_version, "kind": "AnalysisJob", "name": "first", "controller": True,
            "uid": owner, "blockOwnerDeletion": False,
        }  # fmt: skip
        body = kubernetes_job(spec={"suspend": suspend}, ownerReferences=[reference])
        del body["spec"]["managedBy"]
        await self.client.create(JOBS, body, self.namespace)
        await self.until(lambda: "Job 1" in self._states)  # it may be gone again

    async def suspend(self, value: bool) -> None:
        """Suspend or resume the Job."""
        await self.client.patch(JOBS, "work", self.namespace, {"spec": {"suspend": value}})

    async def delete_job(self) -> None:
        """By hand."""
        await self.client.delete(JOBS, "work", self.namespace)

    async def delete_owner(self) -> None:
        """The AnalysisJob is purged or deleted."""
        await self.client.delete(ANALYSIS_JOBS, "first", self.namespace)

    async def delete_pod(self, **options: Any) -> None:
        """By hand, or by the kubelet with a grace period of 0 once it has ended."""
        await self.client.request("DELETE", PODS.path(self.namespace, self.pod["metadata"]["name"]), body=options)

    # --- what scheduler and kubelet do -------------------------------------------------------------------------

    async def has_pod(self, number: int = 1) -> None:
        """Wait for a pod, and for the Job's controller to have counted it."""
        await self.until(lambda: len(self.pods) == number and self.pods[-1] is not None)
        await self.until(lambda: self.job is not None and (self.job["status"].get("active") or 0) == 1)

    async def bind(self) -> None:
        """The scheduler finds a node."""
        name = self.pod["metadata"]["name"]
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                   "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}  # fmt: skip
        await self.client.request("POST", PODS.path(self.namespace, name, "binding"), body=binding)

    async def start(self, number: int = 1) -> None:
        """The pod is given a node and runs."""
        await self.has_pod(number)
        await self.bind()
        await self._write({"phase": "Running"})
        await self.until(lambda: self.pod["status"]["phase"] == "Running")

    async def end(self, phase: str, **status: Any) -> None:
        """The pod's containers have ended."""
        await self._write({"phase": phase} | status)

    async def remove(self) -> None:
        """The kubelet takes the pod away; it may be gone already, if it was only held."""
        if self.pods[-1] is not None:
            with suppress(NotFound):
                await self.delete_pod(gracePeriodSeconds=0)

    async def _write(self, status: Object) -> None:
        await self.client.patch_status(PODS, self.pod["metadata"]["name"], self.namespace, {"status": status})

    async def deleting(self) -> None:
        """Wait until the pod is asked to end."""
        await self.until(lambda: self.pods[-1] is None or "deletionTimestamp" in self.pods[-1]["metadata"])

    async def stopped(self) -> None:
        """Wait until the controller says that the Job is suspended and none of its pods is left."""
        await self.until(lambda: self.true("Suspended") and self.job is not None and not _pods_left(self.job))

    async def gone(self) -> None:
        """Wait until no pod is left."""
        await self.until(lambda: not any(self.pods))


def _pods_left(job: Object) -> bool:
    status = job.get("status") or {}
    return bool(status.get("active") or status.get("terminating"))


def _job_state(job: Object) -> Object:
    return {
        "suspend": job["spec"]["suspend"], "conditions": conditions_of(job),
        "pods left": _pods_left(job),
        "deleted": "deletionTimestamp" in job["metadata"],
    }  # fmt: skip


def _pod_state(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {
        "phase": pod["status"]["phase"], "deleted": "deletionTimestamp" in metadata,
        "held": TRACKING in (metadata.get("finalizers") or ()), "bound": "nodeName" in pod["spec"],
        "disrupted": "DisruptionTarget" in conditions_of(pod),
    }  # fmt: skip
