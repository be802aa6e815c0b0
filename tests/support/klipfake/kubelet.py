"""A scheduler and kubelet that run nothing: `python -m klipfake.kubelet` plays the life of every worker pod.

What a pod does is read from its AnalysisJob's params: fake_seconds (run time) and fake_exits (exit codes by
attempt, the last one repeating, such as "1,1,0"), fake_message (the termination message), fake_waiting (why its
container never starts, such as ImagePullBackOff).

A ConfigMap "fake-node" limits a namespace: its "room" is how many pods run at once, and the others find no node.
"""

import argparse
import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

from klipfake.node import FakeNode
from klipstream_kube import PODS, ApiError, Client, NotFound, Reflector, Resource, Unreachable, load_connection

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NODE = "fake-node"
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims."
PARAMS = "analysis.klipstream.io/params"
ATTEMPT = "analysis.klipstream.io/attempt"


class FakeKubelet:
    """Takes each pod through Pending, Running and its end; deleted pods are ended and removed."""

    def __init__(self, client: Client, default_seconds: float, node: FakeNode | None = None) -> None:
        self._client = client
        self._node = node
        self._default_seconds = default_seconds
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._room: dict[str, int] = {}
        self._bound: dict[str, set[str]] = {}

    async def run(self) -> None:
        """Never returns."""
        log = logging.getLogger("fake-kubelet")
        pods = Reflector(self._client, PODS, on_upsert=self._seen, on_delete=self._gone, log=log)
        nodes = Reflector(
            self._client, CONFIG_MAPS, on_upsert=self._resized, on_delete=lambda _: None,
            field_selector=f"metadata.name={NODE}", log=log,
        )  # fmt: skip
        async with asyncio.TaskGroup() as watches:
            watches.create_task(nodes.run())
            await nodes.synced.wait()  # no pod finds a node before its room is known
            watches.create_task(pods.run())

    def _resized(self, node: dict[str, Any]) -> None:
        self._room[node["metadata"]["namespace"]] = int(node["data"]["room"])

    def _seen(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if pod["metadata"].get("deletionTimestamp"):
            self._gone(pod)
            self._lives[uid] = asyncio.create_task(self._guarded(self._remove(pod)))
        elif uid not in self._lives and pod["status"].get("phase") == "Pending":
            self._lives[uid] = asyncio.create_task(self._guarded(self._live(pod)))

    def _gone(self, pod: dict[str, Any]) -> None:
        self._bound.get(pod["metadata"]["namespace"], set()).discard(pod["metadata"]["uid"])
        life = self._lives.pop(pod["metadata"]["uid"], None)
        if life is not None:
            life.cancel()

    async def _guarded(self, life: Any) -> None:
        try:
            await life
        except NotFound:
            return
        except (ApiError, Unreachable) as error:
            logging.getLogger("fake-kubelet").warning("%s", error)

    async def _live(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        params = json.loads(metadata.get("annotations", {}).get(PARAMS, "{}"))
        exits = [int(code) for code in params.get("fake_exits", "0").split(",")]
        attempt = int(metadata.get("labels", {}).get(ATTEMPT, "1"))
        code = exits[min(attempt, len(exits)) - 1]
        await self._find_node(pod)
        if self._node is not None:
            await self._node.bind(pod)
        if reason := params.get("fake_waiting"):
            await self._write(pod, {"phase": "Pending"}, {"waiting": {"reason": reason, "message": "fake"}})
            return
        began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._write(pod, {"phase": "Running", "startTime": began}, {"running": {"startedAt": began}})
        await asyncio.sleep(float(params.get("fake_seconds", self._default_seconds)))
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "startedAt": began,
                 "message": params.get("fake_message", "")}  # fmt: skip
        await self._write(pod, {"phase": "Succeeded" if code == 0 else "Failed"}, {"terminated": ended})
        self._bound.get(metadata["namespace"], set()).discard(metadata["uid"])

    async def _find_node(self, pod: dict[str, Any]) -> None:
        """Where the namespace is limited: wait as the scheduler does, saying so in the pod, then bind it.

        To a node of its namespace: there is none, and so the pod garbage collector deletes all pods on a node 40 s
        after it first saw one.
        """
        namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
        if namespace not in self._room:
            return
        bound = self._bound.setdefault(namespace, set())
        if len(bound) >= self._room[namespace]:
            since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM,
                         "lastTransitionTime": since}  # fmt: skip
            await self._write(pod, {"phase": "Pending", "conditions": [condition]}, {})
        while len(bound) >= self._room[namespace]:
            await asyncio.sleep(0.1)
        bound.add(uid)
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                "target": {"apiVersion": "v1", "kind": "Node", "name": f"{NODE}-{namespace}"}}  # fmt: skip
        await self._client.request("POST", f"{PODS.path(namespace, pod['metadata']['name'])}/binding", body=body)

    async def _remove(self, pod: dict[str, Any]) -> None:
        """A container that is asked to end ends with 143, and the pod is then taken away."""
        metadata = pod["metadata"]
        if metadata["namespace"] in self._room and not pod["spec"].get("nodeName"):
            return  # It never came to a node, so no kubelet knows it: the API server removes it by itself.
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            await self._write(pod, {"phase": "Failed"}, {"terminated": {"exitCode": 143, "reason": "Error"}})
        path = PODS.path(metadata["namespace"], metadata["name"])
        await self._client.request("DELETE", path, body={"gracePeriodSeconds": 0})

    async def _write(self, pod: dict[str, Any], status: dict[str, Any], state: dict[str, Any]) -> None:
        containers = [
            {"name": container["name"], "image": container["image"], "imageID": "", "ready": "running" in state,
             "restartCount": 0, "state": state}
            for container in pod["spec"]["containers"]
            if state
        ]  # fmt: skip
        metadata = pod["metadata"]
        body = {"status": status | ({"containerStatuses": containers} if state else {})}
        while True:  # as the real one, it goes on trying while the API server is away
            try:
                await self._client.patch(PODS, metadata["name"], metadata["namespace"], body, subresource="status")
                return
            except Unreachable:
                await asyncio.sleep(0.3)
            except ApiError as error:
                if error.status < 500:
                    raise
                await asyncio.sleep(0.3)


async def main() -> None:
    """Play until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.2, help="run time of pods that name none")
    parser.add_argument("--node", action="store_true", help="serve logs, from a Node that pods are bound to")
    options = parser.parse_args()
    async with Client(load_connection(), user_agent="fake-kubelet") as client, contextlib.AsyncExitStack() as stack:
        node = FakeNode(client) if options.node else None
        if node is not None:
            await stack.enter_async_context(node.serving())
        await FakeKubelet(client, options.seconds, node).run()


if __name__ == "__main__":
    asyncio.run(main())
