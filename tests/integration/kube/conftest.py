from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from klipstream_kube import Client, Reflector, Resource, load_connection

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)


@pytest.fixture
async def client(control_plane) -> AsyncIterator[Client]:
    async with Client(load_connection(str(control_plane.kubeconfig))) as connected:
        yield connected


@dataclass
class CustomResource:
    """A custom resource of the test's own. Its watch cache begins with it: any older version is gone."""

    client: Client
    resource: Resource

    async def install(self) -> None:
        group, plural, kind = self.resource.group, self.resource.plural, self.resource.kind
        names = {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"}
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": self.resource.version, "served": True, "storage": True, "schema": schema}
        spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}
        definition = {"metadata": {"name": self.resource.qualified_name}, "spec": spec}
        await self.client.create(CRDS, definition)
        await self._until(True)

    async def remove(self) -> None:
        await self.client.delete(CRDS, self.resource.qualified_name)
        await self._until(False)

    async def _until(self, served: bool) -> None:
        async with asyncio.timeout(60):
            while True:
                crds, _ = await self.client.list(CRDS)
                mine = [crd for crd in crds if crd["metadata"]["name"] == self.resource.qualified_name]
                conditions = mine[0].get("status", {}).get("conditions") or [] if mine else []
                if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
                    if served:
                        return
                elif not mine and not served:
                    return
                await asyncio.sleep(0.1)

    def make(self, name: str) -> dict[str, Any]:
        resource = self.resource
        metadata = {"name": name, "labels": {"ours": "yes"}}
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


@pytest.fixture
async def things(client: Client, namespace: str) -> AsyncIterator[CustomResource]:
    custom = CustomResource(client, Resource(f"{namespace}.example.com", "v1", "things", "Thing"))
    await custom.install()
    yield custom
    await custom.remove()


@dataclass
class Picture:
    """What a reflector's callbacks build."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    lists: int = 0

    def upsert(self, item: dict[str, Any]) -> None:
        known = self.objects.get(item["metadata"]["name"])
        assert known is None or known["metadata"]["uid"] == item["metadata"]["uid"]
        self.objects[item["metadata"]["name"]] = item

    def delete(self, item: dict[str, Any]) -> None:
        gone = self.objects.pop(item["metadata"]["name"])
        assert gone["metadata"]["uid"] == item["metadata"]["uid"]
        self.deleted.append((item["metadata"]["name"], item["metadata"]["uid"]))

    def synced(self) -> None:
        self.lists += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)


Reflecting = Callable[[Client, str, Resource], AbstractAsyncContextManager[tuple[Reflector, Picture]]]


@pytest.fixture
def reflecting() -> Reflecting:
    """A running reflector of the objects labelled ours=yes, and the picture that it makes."""

    @asynccontextmanager
    async def run(client: Client, namespace: str, resource: Resource) -> AsyncIterator[tuple[Reflector, Picture]]:
        picture = Picture()
        reflector = Reflector(
            client,
            resource,
            namespace,
            label_selector="ours=yes",
            on_upsert=picture.upsert,
            on_delete=picture.delete,
            on_synced=picture.synced,
            log=logging.getLogger("reflector"),
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector, picture
        finally:
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError), outcome

    return run
