"""A second node of which there is only the heartbeat.

Where every node of a cluster stopped answering, Kubernetes suspects itself and deletes no pod (node lifecycle
controller, "master disruption mode"). So the loss of the only real node shows what the loss of a node does only while
another one answers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from klipstream_kube import LEASES, AlreadyExists, Client, Resource

NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAME = "heartbeat"
LEASE_NAMESPACE = "kube-node-lease"
BEAT_SECONDS = 5.0


@asynccontextmanager
async def second_node(client: Client) -> AsyncIterator[None]:
    """A node that is Ready and takes no pods, for as long as the context lasts."""
    taint = {"key": "heartbeat-only", "effect": "NoSchedule"}
    with suppress(AlreadyExists):
        await client.create(NODES, {"metadata": {"name": NAME}, "spec": {"taints": [taint]}})
    with suppress(AlreadyExists):
        await client.create(LEASES, {"metadata": {"name": NAME}, "spec": _beat()}, LEASE_NAMESPACE)
    ready = {"type": "Ready", "status": "True", "reason": "Heartbeat", "message": "There is no kubelet."}
    await client.patch_status(NODES, NAME, None, {"status": {"conditions": [ready]}})
    beating = asyncio.create_task(_go_on_beating(client))
    try:
        yield
    finally:
        beating.cancel()
        await client.delete(NODES, NAME)
        await client.delete(LEASES, NAME, LEASE_NAMESPACE)


async def _go_on_beating(client: Client) -> None:
    while True:
        await client.patch(LEASES, NAME, LEASE_NAMESPACE, {"spec": _beat()})
        await asyncio.sleep(BEAT_SECONDS)


def _beat() -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"holderIdentity": NAME, "leaseDurationSeconds": 40, "renewTime": now}
