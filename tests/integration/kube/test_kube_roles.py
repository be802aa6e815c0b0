"""What the real API server allows a service account, and how a reflector tells what it lacks."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator

import pytest
import yaml
from yarl import URL

from klipstream_kube import CONFIG_MAPS, Client, Forbidden, Resource, load_connection
from klipstream_kube import config as kube_config

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CONFIG_MAP = {"metadata": {"name": "a", "labels": {"ours": "yes"}}}


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


async def test_a_role_that_lacks_a_rule_is_named_until_it_has_it(
    client, restricted, namespace, reflecting, caplog
) -> None:
    caplog.set_level(logging.WARNING, "reflector")
    with pytest.raises(Forbidden):
        await restricted.create(CONFIG_MAPS, CONFIG_MAP, namespace)
    async with reflecting(restricted, namespace, CONFIG_MAPS) as (reflector, picture):
        await picture.until(lambda: reflector.problem is not None)
        assert f'lacks "list" on configmaps in namespace "{namespace}"' in reflector.problem
        await grant(client, namespace, ["list"])
        await picture.until(lambda: 'lacks "watch"' in (reflector.problem or ""))
        assert reflector.synced.is_set()
        await grant(client, namespace, ["list", "watch"])
        await picture.until(lambda: reflector.problem is None)
        await client.create(CONFIG_MAPS, CONFIG_MAP, namespace)
        await picture.until(lambda: "a" in picture.objects)
    told = [record.levelname for record in caplog.records if record.name == "reflector"]
    assert told == ["ERROR", "ERROR", "WARNING"]


async def test_a_token_the_server_does_not_know_is_refused(restricted, tmp_path, namespace, reflecting) -> None:
    (tmp_path / "token").write_text("forged")
    restricted.connection.credentials.refused()
    async with reflecting(restricted, namespace, CONFIG_MAPS) as (reflector, picture):
        await picture.until(lambda: "401" in (reflector.problem or ""))
