"""Scheduler and kubelet in one, for a control plane without a node: pods are bound, run for a while, and end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from klipstream_kube import PODS, ApiError, Client, Conflict, NotFound, Reflector, Resource, Unreachable

log = logging.getLogger(__name__)
RUN_SECONDS_ANNOTATION = "klipbench/run-seconds"
HEARTBEAT_SECONDS = 10.0
RETRY_SECONDS = 0.5
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NODE_LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

Pod = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What becomes of a pod: how long its container runs, and how it exits."""

    seconds: float
    exit_code: int = 0


def as_annotated(pod: Pod) -> Run:
    """The run time that the pod's annotation names; one second where it names none."""
    return Run(float((pod["metadata"].get("annotations") or {}).get(RUN_SECONDS_ANNOTATION, "1")))


@dataclass(slots=True)
class FakeKubelet:
    """Runs every pod of a cluster as a node without limits would.

    A pod that is deleted while it runs ends as Failed and is then removed, as a kubelet does it.
    """

    client: Client
    run_of: Callable[[Pod], Run] = as_annotated
    node: str = "fake"
    beside: Callable[[Pod], Awaitable[None]] | None = None
    """What a pod's container does while it runs; cancelled at its end."""
    ended: int = 0
    """Pods that ran to their end so far."""
    _stops: dict[str, asyncio.Event] = field(default_factory=dict)
    _tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Join the cluster as a node and run its pods until cancelled; an unexpected error ends it."""
        await self._join()
        reflector = Reflector(self.client, PODS, on_upsert=self._seen, on_delete=self._gone, log=log)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._heartbeat())
            tasks.create_task(reflector.run())

    # --- the node: the controllers remove pods of a node that is unknown or silent ---------------------------

    async def _join(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Fake",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}}
        await self.client.apply(NODES, node, field_manager="klipbench", force=True)
        await self.client.patch_status(NODES, self.node, None, {"status": {"conditions": [ready]}})

    async def _heartbeat(self) -> None:
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.node, "namespace": "kube-node-lease"},
                "spec": {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": now},
            }
            await self._insist(partial(self.client.apply, NODE_LEASES, lease, field_manager="klipbench", force=True))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    # --- the pods ---------------------------------------------------------------------------------------------

    def _seen(self, pod: Pod) -> None:
        assert self._tasks is not None
        uid = pod["metadata"]["uid"]
        deleted = "deletionTimestamp" in pod["metadata"]
        if uid not in self._stops:
            self._stops[uid] = asyncio.Event()
            self._tasks.create_task(self._serve(pod, self._stops[uid]))
        if deleted:
            self._stops[uid].set()

    def _gone(self, pod: Pod) -> None:
        stop = self._stops.pop(pod["metadata"]["uid"], None)
        if stop is not None:
            stop.set()

    async def _serve(self, pod: Pod, stop: asyncio.Event) -> None:
        """The way of one pod from its creation to its removal."""
        try:
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                await self._run_to_its_end(pod, stop)
            await stop.wait()
            await self._remove(pod)
        except (NotFound, Conflict):
            return  # removed meanwhile: there is nothing left to run

    async def _run_to_its_end(self, pod: Pod, stop: asyncio.Event) -> None:
        if not pod["spec"].get("nodeName"):
            await self._bind(pod)
        run = self.run_of(pod)
        began = _now()
        await self._write_status(pod, "Running", {"running": {"startedAt": began}}, began)
        exit_code = run.exit_code
        working = asyncio.ensure_future(self.beside(pod)) if self.beside is not None else None
        try:
            async with asyncio.timeout(run.seconds):
                await stop.wait()
            exit_code = 137
        except TimeoutError:
            pass
        finally:
            if working is not None:
                working.cancel()
        reason = "Completed" if exit_code == 0 else "Error"
        ended = {"exitCode": exit_code, "reason": reason, "startedAt": began, "finishedAt": _now()}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        await self._write_status(pod, phase, {"terminated": ended}, began)
        self.ended += 1

    async def _bind(self, pod: Pod) -> None:
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.node},
        }
        path = PODS.path(metadata["namespace"], metadata["name"], "binding")
        try:
            await self._insist(lambda: self.client.request("POST", path, body=binding, resource="pods"))
        except Conflict:
            # Bound already: an earlier send whose answer was lost.
            now = await self.client.get(PODS, metadata["name"], metadata["namespace"])
            if now["metadata"]["uid"] != metadata["uid"] or now["spec"].get("nodeName") != self.node:
                raise

    async def _write_status(self, pod: Pod, phase: str, state: dict[str, Any], began: str) -> None:
        metadata = pod["metadata"]
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": "fake",
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        body = {
            "metadata": {"uid": metadata["uid"]},
            "status": {"phase": phase, "startTime": began, "containerStatuses": [container]},
        }
        name, namespace = metadata["name"], metadata["namespace"]
        await self._insist(lambda: self.client.patch_status(PODS, name, namespace, body))

    async def _remove(self, pod: Pod) -> None:
        """What a kubelet does last: the object goes at once, or with its last finalizer."""
        metadata = pod["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        }
        path = PODS.path(metadata["namespace"], metadata["name"])
        await self._insist(lambda: self.client.request("DELETE", path, body=options, resource="pods"))

    async def _insist(self, send: Callable[[], Awaitable[object]]) -> None:
        """Send until the API server has answered: pods outlive its restarts. Refusals are raised."""
        while True:
            try:
                await send()
                return
            except (ApiError, Unreachable) as error:
                if isinstance(error, ApiError) and error.status != 429 and error.status < 500:
                    raise
                log.warning("fake kubelet: tried again in %s s: %s", RETRY_SECONDS, error)
            await asyncio.sleep(RETRY_SECONDS)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
