"""The reflector and the roles against the real API server."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from yarl import URL

from klipstream_kube import CONFIG_MAPS, Client, Forbidden, Reflector, Resource, load_connection
from klipstream_kube import config as kube_config

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")


@pytest.fixture
async def client(control_plane) -> AsyncIterator[Client]:
    async with Client(load_connection(str(control_plane.kubeconfig))) as connected:
        yield connected


def config_map(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"ours": "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Picture:
    """What a reflector's callbacks build."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.deleted: list[tuple[str, str]] = []
        self.lists = 0

    def upsert(self, item: dict[str, Any]) -> None:
        self.objects[item["metadata"]["name"]] = item

    def delete(self, item: dict[str, Any]) -> None:
        gone = self.objects.pop(item["metadata"]["name"])
        assert gone["metadata"]["uid"] == item["metadata"]["uid"]
        self.deleted.append((item["metadata"]["name"], item["metadata"]["uid"]))

    def synced(self) -> None:
        self.lists += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def reflecting(client: Client, namespace: str, resource: Resource = CONFIG_MAPS) -> AsyncIterator[tuple]:
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
        await asyncio.gather(task, return_exceptions=True)


class WatchesOfOneSecond(Client):
    """The server ends every watch after a second."""

    def watch(self, *args: Any, **options: Any) -> AsyncGenerator[tuple[str, Any], None]:
        return super().watch(*args, **options | {"timeout_seconds": 1})


class FirstWatchComesTooLate(Client):
    """The first watch begins when the test allows, at a version that the server no longer has."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.allowed = asyncio.Event()

    async def watch(self, *args: Any, **options: Any) -> AsyncGenerator[tuple[str, Any], None]:
        if not self.allowed.is_set():
            await self.allowed.wait()
            options["resource_version"] = "1"
        async for event in super().watch(*args, **options):
            yield event


async def test_nothing_is_missed_while_the_server_ends_watch_after_watch(client, namespace) -> None:
    verbs: list[str] = []
    async with WatchesOfOneSecond(client.connection) as interrupted:
        interrupted.on_request = lambda verb, *_: verbs.append(verb)
        async with reflecting(interrupted, namespace) as (reflector, picture):
            await reflector.synced.wait()
            for n in range(40):
                await client.create(CONFIG_MAPS, config_map(f"c{n}", x=str(n)), namespace)
                if n % 2:
                    await client.delete(CONFIG_MAPS, f"c{n}", namespace)
                await asyncio.sleep(0.08)
            expected = {f"c{n}" for n in range(0, 40, 2)}
            await picture.until(lambda: set(picture.objects) == expected)
            await picture.until(lambda: len(picture.deleted) == 20)
    assert verbs.count("list") == 1
    assert verbs.count("watch") >= 3


async def test_what_happened_before_a_relist_is_told_as_deletions_and_new_objects(client, namespace) -> None:
    kept = await client.create(CONFIG_MAPS, config_map("kept"), namespace)
    removed = await client.create(CONFIG_MAPS, config_map("removed"), namespace)
    old = await client.create(CONFIG_MAPS, config_map("replaced"), namespace)
    async with (
        FirstWatchComesTooLate(client.connection) as late,
        reflecting(late, namespace) as (reflector, picture),
    ):
        await reflector.synced.wait()
        await client.delete(CONFIG_MAPS, "removed", namespace)
        await client.delete(CONFIG_MAPS, "replaced", namespace)
        new = await client.create(CONFIG_MAPS, config_map("replaced"), namespace)
        late.allowed.set()
        await picture.until(lambda: picture.lists == 2)
        uids = {name: item["metadata"]["uid"] for name, item in picture.objects.items()}
        assert uids == {"kept": kept["metadata"]["uid"], "replaced": new["metadata"]["uid"]}
        assert sorted(picture.deleted) == [
            ("removed", removed["metadata"]["uid"]),
            ("replaced", old["metadata"]["uid"]),
        ]
        await client.create(CONFIG_MAPS, config_map("after"), namespace)
        await picture.until(lambda: "after" in picture.objects)
        assert reflector.problem is None


async def test_an_object_that_loses_its_label_leaves_the_picture(client, namespace) -> None:
    await client.create(CONFIG_MAPS, config_map("a"), namespace)
    async with reflecting(client, namespace) as (reflector, picture):
        await reflector.synced.wait()
        await client.patch(CONFIG_MAPS, "a", namespace, {"metadata": {"labels": {"ours": None}}})
        await picture.until(lambda: not picture.objects)


async def test_a_resource_the_server_does_not_know_asks_for_the_crds(client, namespace) -> None:
    unknown = Resource("missing.klipstream.io", "v1", "things", "Thing")
    async with reflecting(client, namespace, unknown) as (reflector, picture):
        await picture.until(lambda: reflector.problem is not None)
        assert "things.missing.klipstream.io" in reflector.problem
        assert "install the CRDs" in reflector.problem


@pytest.fixture
async def restricted(client, namespace, control_plane, tmp_path, monkeypatch) -> AsyncIterator[Client]:
    """A client as a pod has it, with a service account's own token and no right but one."""
    account = {"metadata": {"name": "restricted"}}
    await client.create(SERVICE_ACCOUNTS, account, namespace)
    request = {"spec": {"audiences": None, "expirationSeconds": 600}}
    token = await client.request("POST", SERVICE_ACCOUNTS.path(namespace, "restricted", "token"), body=request)
    cluster = yaml.safe_load(control_plane.kubeconfig.read_text())["clusters"][0]["cluster"]
    if "certificate-authority-data" in cluster:
        authority = base64.b64decode(cluster["certificate-authority-data"])
    else:
        authority = (control_plane.kubeconfig.parent / cluster["certificate-authority"]).read_bytes()
    for name, content in {
        "token": token["status"]["token"].encode(), "namespace": namespace.encode(), "ca.crt": authority,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    server = URL(cluster["server"])
    monkeypatch.setattr(kube_config, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.host))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    async with Client(load_connection()) as connected:
        assert connected.connection.namespace == namespace
        yield connected


async def grant(client: Client, namespace: str, verbs: list[str]) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]
    await client.apply(
        ROLES,
        {"apiVersion": ROLES.api_version, "kind": "Role", "metadata": {"name": "some"}, "rules": rules},
        field_manager="test",
        namespace=namespace,
    )
    binding = {
        "apiVersion": ROLE_BINDINGS.api_version,
        "kind": "RoleBinding",
        "metadata": {"name": "some"},
        "roleRef": {"apiGroup": ROLES.group, "kind": "Role", "name": "some"},
        "subjects": [{"kind": "ServiceAccount", "name": "restricted", "namespace": namespace}],
    }
    await client.apply(ROLE_BINDINGS, binding, field_manager="test", namespace=namespace)


async def test_a_role_that_lacks_a_rule_is_named_until_it_has_it(client, restricted, namespace, caplog) -> None:
    caplog.set_level(logging.WARNING, "reflector")
    with pytest.raises(Forbidden):
        await restricted.create(CONFIG_MAPS, config_map("a"), namespace)
    async with reflecting(restricted, namespace) as (reflector, picture):
        await picture.until(lambda: reflector.problem is not None)
        assert f'lacks "list" on configmaps in namespace "{namespace}"' in reflector.problem
        await grant(client, namespace, ["list"])
        await picture.until(lambda: 'lacks "watch"' in (reflector.problem or ""))
        assert reflector.synced.is_set()
        await grant(client, namespace, ["list", "watch"])
        await picture.until(lambda: reflector.problem is None)
        await client.create(CONFIG_MAPS, config_map("a"), namespace)
        await picture.until(lambda: "a" in picture.objects)
    told = [record.levelname for record in caplog.records if record.name == "reflector"]
    assert told == ["ERROR", "ERROR", "WARNING"]


async def test_a_token_the_server_does_not_know_is_refused(restricted, tmp_path, namespace) -> None:
    (tmp_path / "token").write_text("forged")
    restricted.connection.credentials.refused()
    async with reflecting(restricted, namespace) as (reflector, picture):
        await picture.until(lambda: "401" in (reflector.problem or ""))
