"""Scheduler, kubelets and workers: what becomes of each pod, by the seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from klipsim.apiserver import PODS, ApiServer, Change, Kind
from klipsim.http_api import WORKER_TOKEN
from klipsim.job_controller import ENDED, with_condition
from klipsim.loop import NOBODY, SimulatedLoop
from klipsim.objects import Object

KUBELET, SCHEDULER, NODE_CONTROLLER = "kubelet", "kube-scheduler", "node-controller"
NO_ROOM = "0/2 nodes are available: 2 Insufficient cpu."
QUICK_SECONDS = 1.0
SHOWN_STARTING_SECONDS = 0.6
"""A container that starts sooner is not shown starting. (The real kubelet mostly shows it; the operator takes it for
what a pod without container states is, so that half of the writes is enough.)"""
ENDS_WHEN_ASKED = (137, 137, 137, 137, 143, 143, 143, 143, 0)
"""Exit codes of workers whose pod is deleted. Some end with 0 without having finished; that counts as success."""
NAME, LABEL_ATTEMPT = "analysis.klipstream.io/job", "analysis.klipstream.io/attempt"

Post = Callable[[str, Object], Awaitable[tuple[int, Object]]]
"""Sends a worker's post to some replica; (0, {}) where nobody answers in time."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a worker does."""

    seconds: float
    exit_code: int
    message: str = ""
    reason: str = "Error"
    posts: bool = True
    image_missing: bool = False
    obeys: bool = True
    """Whether it ends by itself when it is told to cancel."""
    hangs: bool = False


@dataclass(slots=True)
class Node:
    """A machine for worker pods."""

    name: str
    room: int
    up: asyncio.Event = field(default_factory=asyncio.Event)
    schedulable: bool = True


class Nodes:
    """All nodes, the scheduler and the node controller."""

    def __init__(
        self,
        loop: SimulatedLoop,
        server: ApiServer,
        rng: random.Random,
        script: Callable[[str, int], Script],
        post: Post,
        rooms: list[int],
    ) -> None:
        self.loop, self.server, self.rng = loop, server, rng
        self._script, self._post = script, post
        self.nodes = [Node(f"node-{number}", room) for number, room in enumerate(rooms)]
        for node in self.nodes:
            node.up.set()
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()
        self._scheduling = False
        server.listen(self.changed, PODS)

    # --- what changed ----------------------------------------------------------------------------------------

    def changed(self, kind: Kind, change: Change) -> None:
        pod, uid = change.obj, change.obj["metadata"]["uid"]
        if change.type == "DELETED":
            self._stop(uid)
            self._schedule_soon()
        elif "deletionTimestamp" in pod["metadata"] and pod["spec"].get("nodeName"):
            if uid not in self._ending:
                self._ending.add(uid)
                self._start(self._end(pod))
        elif change.type == "ADDED" or pod["status"]["phase"] in ENDED:
            self._schedule_soon()

    def _start(self, life: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(life, context=NOBODY.copy())
        task.add_done_callback(self._died, context=NOBODY)
        return task

    def _died(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # a mistake of the simulation

    def _stop(self, uid: str) -> None:
        life = self._lives.pop(uid, None)
        if life is not None:
            life.cancel()

    # --- scheduler -------------------------------------------------------------------------------------------

    def _schedule_soon(self, seconds: float | None = None) -> None:
        if not self._scheduling:
            self._scheduling = True
            delay = self.rng.uniform(0.01, 0.2) if seconds is None else seconds
            self.loop.call_later(delay, self._schedule, context=NOBODY)

    def _schedule(self) -> None:
        self._scheduling = False
        pods = self.server.all(PODS)
        used = {node.name: 0 for node in self.nodes}
        for pod in pods:
            if pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED:
                used[pod["spec"]["nodeName"]] += 1
        for pod in pods:
            if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] in ENDED:
                continue
            node = next((n for n in self.nodes if n.schedulable and used[n.name] < n.room), None)
            if node is None:
                self._no_room(pod)
                continue
            used[node.name] += 1
            self._bind(pod, node)

    def _no_room(self, pod: Object) -> None:
        conditions = pod["status"].get("conditions") or []
        if not any(each["type"] == "PodScheduled" for each in conditions):
            failed = with_condition(
                conditions, "PodScheduled", "False", "Unschedulable", self.server.stamp(), message=NO_ROOM
            )
            self.server.change(PODS, pod, {"status": {"conditions": failed}}, SCHEDULER, "status")

    def _bind(self, pod: Object, node: Node) -> None:
        metadata = pod["metadata"]
        bound = self.server.bind(metadata["namespace"], metadata["name"], node.name, SCHEDULER)
        self._lives[metadata["uid"]] = self._start(self._live(bound, node))

    # --- kubelet ---------------------------------------------------------------------------------------------

    async def _live(self, pod: Object, node: Node) -> None:
        """A pod on its node, up to its own end."""
        labels = pod["metadata"]["labels"]
        name = pod["metadata"]["annotations"][NAME]
        script = self._script(name, int(labels[LABEL_ATTEMPT]))
        starting = self.rng.uniform(0.05, 1.2)
        await asyncio.sleep(0.5 * starting)
        if starting > SHOWN_STARTING_SECONDS:
            creating = {"waiting": {"reason": "ContainerCreating"}}
            await self._write(pod, node, {"startTime": self.server.stamp()}, creating)
        await asyncio.sleep(0.5 * starting)
        began, deadline = self.loop.time(), float(pod["spec"].get("activeDeadlineSeconds", 1e9))
        if script.image_missing:
            waiting = {"waiting": {"reason": "ErrImagePull", "message": "failed to pull the image"}}
            await self._write(pod, node, {"startTime": self.server.stamp()}, waiting)
            backoff = min(deadline, self.rng.uniform(0.5, 3.0))
            await asyncio.sleep(backoff)
            if backoff < deadline:
                waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
                await self._write(pod, node, {}, waiting)
            await asyncio.sleep(deadline - backoff)
            last: Object = waiting  # nothing ran, so there is nothing that could have ended
        elif script.seconds < QUICK_SECONDS and self.rng.random() < 0.5:
            await asyncio.sleep(script.seconds)
            await self._end_quickly(pod, node, script)
            return
        else:
            started = self.server.stamp()
            running = {"running": {"startedAt": started}}
            behind = min(deadline, self.rng.uniform(0.0, 4.0)) if self.rng.random() < 0.1 else 0.0
            if behind:  # the phase follows the containers' states later, or never
                await self._write(pod, node, {"startTime": started}, running)
                await asyncio.sleep(behind)
            code, reason = None, ""
            if deadline - behind > 0.3:
                await self._write(pod, node, {"phase": "Running", "startTime": started}, running)
                code, reason = await self._run(pod, script, deadline - behind)
            else:
                await asyncio.sleep(deadline - behind)
            if code is not None:
                ended = {
                    "exitCode": code,
                    "reason": reason,
                    "message": script.message if code == script.exit_code else "",
                }
                phase = "Succeeded" if code == 0 else "Failed"
                await self._write(pod, node, {"phase": phase}, {"terminated": ended})
                return
            last = {"terminated": {"exitCode": 137, "reason": "Error", "message": ""}}
        assert self.loop.time() >= began + deadline - 0.001
        failed = {"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active on the node longer"}
        await self._write(pod, node, failed, last)

    async def _end_quickly(self, pod: Object, node: Node, script: Script) -> None:
        """What ends before the kubelet has looked is never seen running: its container has ended, then the pod."""
        reason = "Completed" if script.exit_code == 0 else script.reason
        ended: Object = {"terminated": {"exitCode": script.exit_code, "reason": reason, "message": script.message}}
        await self._write(pod, node, {}, ended)
        await asyncio.sleep(self.rng.uniform(0.01, 1.0))
        await self._write(pod, node, {"phase": "Succeeded" if script.exit_code == 0 else "Failed"}, ended)

    async def _run(self, pod: Object, script: Script, deadline: float) -> tuple[int | None, str]:
        """The worker: (exit code, reason), or (None, "") when the deadline ends it."""
        metadata, loop = pod["metadata"], self.loop
        token = f"{WORKER_TOKEN}{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"
        began = loop.time()
        ends = began + script.seconds if not script.hangs else float("inf")
        posts = 0
        while True:
            step = min(ends, began + deadline, loop.time() + self.rng.uniform(0.5, 6.0)) - loop.time()
            await asyncio.sleep(max(0.0, step))
            if loop.time() >= ends:
                return script.exit_code, "Completed" if script.exit_code == 0 else script.reason
            if loop.time() >= began + deadline:
                return None, ""
            if not script.posts or (script.hangs and posts):
                continue
            posts += 1
            percentage = min(99.0, 100 * (loop.time() - began) / max(script.seconds, 0.1))
            body = {"percentage": round(percentage, 1), "stage": f"stage {posts // 3}", "checkpoint": f"at {posts}"}
            code, reply = await self._post(token, body)
            if code == 409 or (code == 200 and reply.get("desired") == "Cancel" and script.obeys):
                await asyncio.sleep(self.rng.uniform(0.0, 2.0))
                return (0, "Completed") if loop.time() >= ends else (143, "Error")

    async def _end(self, pod: Object) -> None:
        """A pod that is deleted: its containers are stopped, and it is taken away."""
        metadata = pod["metadata"]
        node = next(node for node in self.nodes if node.name == pod["spec"]["nodeName"])
        await node.up.wait()
        if pod["status"]["phase"] not in ENDED:
            await asyncio.sleep(self.rng.uniform(0.02, 2.0))
            await node.up.wait()
            self._stop(metadata["uid"])
            code = self.rng.choice(ENDS_WHEN_ASKED)
            ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": ""}
            await self._write(pod, node, {"phase": "Failed" if code else "Succeeded"}, {"terminated": ended})
        await asyncio.sleep(self.rng.uniform(0.01, 0.5))
        await node.up.wait()
        live = self.server.find(PODS, metadata["namespace"], metadata["name"])
        if live is not None and live["metadata"]["uid"] == metadata["uid"]:
            self.server.delete(PODS, metadata["namespace"], metadata["name"], KUBELET, grace_seconds=0)

    async def _write(self, pod: Object, node: Node, status: Object, state: Object) -> None:
        """Once the node can; the end of a pod is final."""
        await node.up.wait()
        metadata = pod["metadata"]
        live = self.server.find(PODS, metadata["namespace"], metadata["name"])
        if live is None or live["metadata"]["uid"] != metadata["uid"] or live["status"]["phase"] in ENDED:
            return
        name = pod["spec"]["containers"][0]["name"]
        containers = [{"name": name, "state": state, "restartCount": 0}]
        self.server.change(PODS, live, {"status": status | {"containerStatuses": containers}}, KUBELET, "status")

    # --- losing a node ---------------------------------------------------------------------------------------

    def lose(self, index: int, seconds: float, noticed_after: float) -> None:
        """A node answers nobody for a while, though its containers run on; its pods are evicted if it takes long."""
        node = self.nodes[index % len(self.nodes)]
        if not node.up.is_set():
            return
        node.up.clear()
        self.loop.call_later(noticed_after, self._evict, node, context=NOBODY)
        self.loop.call_later(seconds, self.recover, node, context=NOBODY)

    def _evict(self, node: Node) -> None:
        if node.up.is_set():
            return
        node.schedulable = False
        for pod in self.server.all(PODS):
            metadata = pod["metadata"]
            if pod["spec"].get("nodeName") != node.name or pod["status"]["phase"] in ENDED:
                continue
            if "deletionTimestamp" in metadata:
                continue
            message = "Taint manager: deleting due to NoExecute taint"
            conditions = with_condition(
                pod["status"].get("conditions") or [], "DisruptionTarget", "True", "DeletionByTaintManager",
                self.server.stamp(), message=message,
            )  # fmt: skip
            self.server.change(PODS, pod, {"status": {"conditions": conditions}}, NODE_CONTROLLER, "status")
            self.server.delete(PODS, metadata["namespace"], metadata["name"], NODE_CONTROLLER)

    def grow(self, room: int) -> None:
        """Another node comes where there is less room than that in all."""
        missing = room - sum(node.room for node in self.nodes)
        if missing > 0:
            node = Node(f"node-{len(self.nodes)}", missing)
            self.nodes.append(node)
            self.recover(node)

    def recover(self, node: Node) -> None:
        """It answers again."""
        node.up.set()
        node.schedulable = True
        self._schedule_soon()
