"""The Convex side as the chart installs it: what the relay may do for apps, and no more."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipconvex.compare import RESOURCES
from klipstream_convex.settings import Settings
from klipstream_kube import NAMESPACES, ApiError, Client, load_connection

ROOT = Path(__file__).resolve().parents[3]
CHART = str(ROOT / "charts" / "klipstream")
JOBS = RESOURCES["job"]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


def convex_settings(namespace: str = "") -> str:
    requests = f",relay.convex.requestsNamespace={namespace}" if namespace else ""
    return f"relay.convex.url=https://x.convex.cloud,relay.convex.secretName=convex{requests}"


def environment_of(helm: Helm, settings: str) -> dict[str, str]:
    done = helm("template", "r", CHART, "-n", "here", "--set", settings)
    assert done.returncode == 0, done.stderr
    (relay,) = (each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "StatefulSet")
    (container,) = relay["spec"]["template"]["spec"]["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in relay["spec"]["template"]["spec"]["volumes"]}
    if "/etc/klipstream/convex" in mounts:
        assert volumes[mounts["/etc/klipstream/convex"]]["secret"] == {"secretName": "convex"}
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_the_relay_understands_the_convex_settings_of_its_chart(helm: Helm, tmp_path: Path) -> None:
    environment = environment_of(helm, convex_settings("apps") + ",relay.convex.sweepSeconds=60")
    assert environment["KLIPSTREAM_CONVEX_SECRET_FILE"] == "/etc/klipstream/convex/secret"
    (tmp_path / "secret").write_text("s" * 40)
    settings = Settings.from_environment(environment | {"KLIPSTREAM_CONVEX_SECRET_FILE": str(tmp_path / "secret")})
    assert settings is not None
    assert (settings.url, settings.namespace, settings.sweep_seconds) == ("https://x.convex.cloud", "apps", 60.0)
    assert settings.requests_seconds > 0


def test_a_deploy_key_takes_the_secrets_place_and_without_a_namespace_nothing_is_asked(helm: Helm) -> None:
    environment = environment_of(helm, convex_settings() + ",relay.convex.secretKey=deploy-key")
    assert environment["KLIPSTREAM_CONVEX_DEPLOY_KEY_FILE"] == "/etc/klipstream/convex/deploy-key"
    assert "KLIPSTREAM_CONVEX_SECRET_FILE" not in environment
    assert environment["KLIPSTREAM_CONVEX_REQUESTS_SECONDS"] == "0"


def test_without_a_url_there_is_no_convex_side(helm: Helm) -> None:
    assert not [name for name in environment_of(helm, "relay.enabled=true") if "CONVEX" in name]


def test_a_url_without_a_secret_is_refused(helm: Helm) -> None:
    done = helm("template", "r", CHART, "--set", "relay.convex.url=https://x.convex.cloud")
    assert done.returncode != 0
    assert "relay.convex.secretName" in done.stderr


@pytest.fixture
def installed(helm: Helm, custom_resources: None, namespace: str) -> Iterator[str]:
    off = f"crds.upgrade=false,operator.replicas=0,relay.replicas=0,operator.namespaces={{{namespace}}}"
    done = helm("install", "r", CHART, "-n", namespace, "--skip-crds", "--set", f"{off},{convex_settings(namespace)}")
    assert done.returncode == 0, done.stderr
    yield namespace
    assert helm("uninstall", "r", "-n", namespace).returncode == 0


@pytest.fixture
async def relay(kubectl: Callable[..., Any], installed: str, control_plane, tmp_path: Path) -> AsyncIterator[Client]:
    """A client with the rights of the relay's ServiceAccount."""
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    token = kubectl("-n", installed, "create", "token", "r-relay").stdout.strip()
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    async with Client(load_connection(str(tmp_path / "kubeconfig"))) as client:
        yield client


def a_job(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": name},
            "spec": {"videoUrl": "https://example.com/v.mp4"} | spec}  # fmt: skip


async def refused(writing: Callable[[], Awaitable[Any]]) -> str:
    """Why; tried until the policy is at work, since an API server takes a while to know one."""
    for _ in range(300):
        try:
            await writing()
        except ApiError as error:
            return error.message
        await asyncio.sleep(0.1)
    raise AssertionError("it was never refused")


async def test_for_apps_the_relay_submits_and_changes_what_an_app_may_change_and_nothing_else(
    relay: Client, kubectl: Callable[..., Any], installed: str
) -> None:
    def change(**spec: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: relay.patch(JOBS, "convex-a", installed, {"spec": spec})

    await relay.create(JOBS, a_job("convex-a", jobId="a"), installed)
    assert "apps ask" in await refused(lambda: relay.create(JOBS, a_job(f"other-{os.urandom(4).hex()}"), installed))
    assert "apps ask" in await refused(change(timeoutSeconds=int.from_bytes(os.urandom(2)) + 1))
    for allowed in ({"priority": "URGENT"}, {"cancel": True}, {"replay": 1}):
        await change(**allowed)()
    with pytest.raises(ApiError):
        await relay.delete(JOBS, "convex-a", installed)
    assert (await relay.get(NAMESPACES, "kube-system"))["metadata"]["uid"]
    with pytest.raises(ApiError):
        await relay.get(NAMESPACES, "default")
    assert "convex-a" in kubectl("-n", installed, "get", "aj", "-o", "name").stdout
