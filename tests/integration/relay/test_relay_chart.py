"""The relay as the chart installs it: its settings, its rights, and what it may not do."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from standardwebhooks.webhooks import Webhook

from klipfake.ports import free_port
from klipfake.processes import Process
from klipstream_kube import LEASES, SECRETS, ApiError, Client, load_connection
from klipstream_relay.acknowledgement import ANALYSIS_JOBS, ANALYSIS_QUEUES
from klipstream_relay.settings import Settings
from klipstream_relay.signing import new_secret

ROOT = Path(__file__).resolve().parents[3]
CHART = str(ROOT / "charts" / "klipstream")
FINISHED = {"phase": "Succeeded", "finishedAt": "2026-01-02T03:04:05.000Z", "queueName": "default", "sequence": 5}


def rendered(helm: Callable[..., Any], *settings: str) -> list[dict[str, Any]]:
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "r", CHART, "-n", "here", *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def the(objects: list[dict[str, Any]], kind: str, name: str = "r-relay") -> dict[str, Any]:
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def test_the_relay_understands_the_settings_of_its_chart(helm: Callable[..., Any]) -> None:
    objects = rendered(
        helm, "relay.clusterNetworks={10.96.0.0/12,fd10::/64}", "relay.allowedHosts={*.shop.svc}",
        "relay.allowedNetworks={10.1.0.0/16}", "relay.attempts=5", "relay.retrySeconds=4",
        "relay.progressSeconds=60", "operator.namespaces={a,b}",
    )  # fmt: skip
    (container,) = the(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each.get("value", "x") for each in container["env"]}
    settings = Settings.from_environment(environment)
    fields = " ".join(
        path.read_text()
        for path in (
            *(ROOT / "webhook-relay" / "src").rglob("settings.py"),
            ROOT / "service/src/klipstream_service/environment.py",
        )
    )
    assert all(f'"{name.removeprefix("KLIPSTREAM_")}"' in fields for name in environment), "each is read"
    assert [str(each) for each in settings.rules.cluster_networks] == ["10.96.0.0/12", "fd10::/64"]
    assert settings.rules.allowed_hosts == ("*.shop.svc",)
    assert (settings.retries.attempts, settings.retries.first_delay_seconds) == (5, 4)
    assert settings.progress_seconds == 60
    assert settings.namespaces == ("a", "b")
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert str(settings.ledger.parent) in mounts
    assert settings.sealing_ring is not None
    assert str(settings.sealing_ring.parent) in mounts
    assert {"name": "http", "containerPort": settings.http_port} in container["ports"]


def test_the_ledger_is_on_a_volume_unless_that_is_turned_off(helm: Callable[..., Any]) -> None:
    (claim,) = the(rendered(helm), "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "ledger"
    without = the(rendered(helm, "relay.persistence.enabled=false"), "StatefulSet")["spec"]
    assert "volumeClaimTemplates" not in without
    assert {"name": "ledger", "emptyDir": {}} in without["template"]["spec"]["volumes"]


def test_the_relay_reads_secrets_one_by_one_and_only_those_that_are_named(helm: Callable[..., Any]) -> None:
    for settings, names in (((), None), (("relay.secretNames={shop,wiki}",), ["shop", "wiki"])):
        rules = the(rendered(helm, *settings), "ClusterRole", "here-r-relay")["rules"]
        (secrets,) = (rule for rule in rules if "secrets" in rule["resources"])
        assert secrets["verbs"] == ["get"]
        assert secrets.get("resourceNames") == names
        assert not any({"create", "delete", "update", "*"} & set(rule["verbs"]) for rule in rules)


def test_without_the_relay_nothing_of_it_is_installed(helm: Callable[..., Any]) -> None:
    names = [each["metadata"]["name"] for each in rendered(helm, "relay.enabled=false")]
    assert not [name for name in names if "relay" in name]


def test_the_network_policy_lets_nothing_private_through(helm: Callable[..., Any], kubectl: Callable[..., Any],
                                                         namespace: str) -> None:  # fmt: skip
    networks = "relay.clusterNetworks={10.96.0.0/12,44.0.0.0/16,fd10::/64,2600:1f00::/40}"
    policy = the(rendered(helm, networks, "relay.networkPolicy.apiServer={10.0.0.9/32}"), "NetworkPolicy")
    kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-",
            stdin=json.dumps(policy | {"metadata": {"name": "r-relay"}}))  # fmt: skip
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule.get("to", [])]
    assert [block["cidr"] for block in blocks if "except" not in block] == ["10.0.0.9/32"]
    left_out = [each for block in blocks for each in block.get("except", [])]
    assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "44.0.0.0/16", "2600:1f00::/40"} <= set(left_out)


@pytest.fixture
def installed(helm: Callable[..., Any], custom_resources: None, namespace: str) -> Iterator[str]:
    """The chart in the test's namespace; control planes have no node for its pods."""
    settings = f"crds.upgrade=false,operator.replicas=0,relay.replicas=0,operator.namespaces={{{namespace}}}"
    done = helm("install", "r", CHART, "-n", namespace, "--set", settings, "--skip-crds")
    assert done.returncode == 0, done.stderr
    yield namespace
    assert helm("uninstall", "r", "-n", namespace).returncode == 0


def submitted(kubectl: Callable[..., Any], namespace: str, **spec: Any) -> None:
    job = {
        "apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": "film"},
        "spec": {"videoUrl": "https://example.com/v.mp4"} | spec,
    }  # fmt: skip
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(job))


def patch(kubectl: Callable[..., Any], namespace: str, status: dict[str, Any]) -> Any:
    body = json.dumps({"status": status})
    return kubectl("-n", namespace, "patch", "aj", "film", "--subresource=status", "--type=merge", "-p", body)


@pytest.fixture
async def relay(kubectl: Callable[..., Any], installed: str, control_plane, tmp_path: Path) -> AsyncIterator[Client]:
    """A client with the rights of the relay's ServiceAccount."""
    async with Client(load_connection(str(as_the_relay(kubectl, installed, control_plane, tmp_path)))) as client:
        yield client


def as_the_relay(kubectl: Callable[..., Any], namespace: str, control_plane: Any, folder: Path) -> Path:
    token = kubectl("-n", namespace, "create", "token", "r-relay").stdout.strip()
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return folder / "kubeconfig"


async def refusal(writing: Awaitable[Any]) -> str:
    """What the API server said against it; empty where it was done."""
    try:
        await writing
    except ApiError as error:
        return error.message
    return ""


async def test_the_relay_can_change_nothing_but_its_acknowledgement(
    kubectl: Callable[..., Any], installed: str, relay: Client
) -> None:
    namespace = installed
    submitted(kubectl, namespace)

    def write(status: dict[str, Any]) -> Awaitable[Any]:
        return relay.patch_status(ANALYSIS_JOBS, "film", namespace, {"status": status})

    acknowledged = {"announcedAt": "2026-01-02T03:05:00.000Z"}
    async with asyncio.timeout(30):  # the API server learns of a new policy after a moment
        while not (said := await refusal(write({"retries": 0}))):
            await asyncio.sleep(0.2)
    assert "announcedAt" in said or "only the end of a finished" in said
    assert "only the end of a finished" in await refusal(write(acknowledged))
    assert patch(kubectl, namespace, FINISHED).returncode == 0
    for against_the_crd in ({"phase": "Failed"}, {"phase": "Running"}, {"sequence": 6}):
        assert await refusal(write(against_the_crd))
    for forbidden in (
        {"retries": 1}, {"resultUrl": "https://evil.net/"}, {"startedAt": "2026-01-02T03:04:05.000Z"},
        {"conditions": [{"type": "Finished", "status": "False"}]}, {"finishedAt": None}, {"queueName": None},
        acknowledged | {"queueName": "other"},
    ):  # fmt: skip
        said = await refusal(write(forbidden))
        assert "nothing in the status of an AnalysisJob but announcedAt" in said, (forbidden, said)
    assert await refusal(write(acknowledged)) == ""
    status = json.loads(kubectl("-n", namespace, "get", "aj", "film", "-o", "json").stdout)["status"]
    assert status.items() >= (FINISHED | acknowledged).items()

    cancel = {"spec": {"cancel": True}}
    for writing in (
        relay.patch(ANALYSIS_JOBS, "film", namespace, cancel),
        relay.delete(ANALYSIS_JOBS, "film", namespace),
        relay.patch_status(ANALYSIS_QUEUES, "default", namespace, {"status": {"queued": 9}}),
        relay.list(SECRETS, namespace),
        relay.get(SECRETS, "any", "kube-system"),
        relay.patch(LEASES, "r-operator", namespace, {"spec": {"holderIdentity": "relay"}}),
    ):
        assert "cannot" in await refusal(writing)


async def test_even_with_more_rights_the_policy_holds_the_relay_to_its_acknowledgement(
    kubectl: Callable[..., Any], installed: str, relay: Client
) -> None:
    """Somebody bound a role of the administrators' to the relay's ServiceAccount."""
    namespace = installed
    kubectl("-n", namespace, "create", "rolebinding", "too-much", "--clusterrole=cluster-admin",
            f"--serviceaccount={namespace}:r-relay")  # fmt: skip
    submitted(kubectl, namespace)
    cancel = {"spec": {"cancel": True}}
    async with asyncio.timeout(30):
        while "may only write the status" not in await refusal(relay.patch(ANALYSIS_JOBS, "film", namespace, cancel)):
            await asyncio.sleep(0.2)
    assert "may only write the status" in await refusal(relay.delete(ANALYSIS_JOBS, "film", namespace))
    paused = {"spec": {"mode": "Paused"}}
    assert "may only write the status" in await refusal(relay.patch(ANALYSIS_QUEUES, "default", namespace, paused))


@contextmanager
def receiving() -> Iterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    seen: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_installed_rights_suffice_to_announce_a_job_to_its_end(
    kubectl: Callable[..., Any], installed: str, control_plane, tmp_path: Path
) -> None:
    """The relay runs here, as the ServiceAccount of the chart."""
    namespace = installed
    secret = new_secret()
    data = {"signing": base64.b64encode(secret.encode()).decode(), "token": base64.b64encode(b"opaque").decode()}
    metadata = {
        "name": "shop", "labels": {"analysis.klipstream.io/callback": "true"},
        "annotations": {"analysis.klipstream.io/allowed-hosts": "127.0.0.1"},
    }  # fmt: skip
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest))
    kubeconfig = as_the_relay(kubectl, namespace, control_plane, tmp_path)
    with receiving() as (port, seen):
        endpoint = {
            "name": "shop", "url": f"http://127.0.0.1:{port}/hook",
            "secretRef": {"name": "shop", "key": "signing"}, "tokenRef": {"name": "shop", "key": "token"},
        }  # fmt: skip
        kubectl("-n", namespace, "patch", "aq", "default", "--type=merge", "-p",
                json.dumps({"spec": {"endpoints": [endpoint]}}))  # fmt: skip
        process = Process(
            "klipstream_relay", kubeconfig, tmp_path / "relay.log",
            KLIPSTREAM_NAMESPACES=namespace, KLIPSTREAM_LEASE_NAMESPACE=namespace, KLIPSTREAM_LEASE_NAME="r-relay",
            KLIPSTREAM_LEDGER=str(tmp_path / "ledger.db"), KLIPSTREAM_HTTP_HOST="127.0.0.1",
            KLIPSTREAM_HTTP_PORT=str(free_port()), KLIPSTREAM_ALLOWED_NETWORKS="127.0.0.1/32",
        )  # fmt: skip
        process.start()
        try:
            submitted(kubectl, namespace, queueName="default")
            assert patch(kubectl, namespace, FINISHED).returncode == 0
            kubectl("-n", namespace, "wait", "aj/film", "--for=jsonpath={.status.announcedAt}", "--timeout=120s")
        finally:
            process.stop()
    assert "forbidden" not in process.said().lower(), process.said()
    bodies = [Webhook(secret).verify(body, headers) for headers, body in seen]
    assert bodies[-1]["type"] == "job.succeeded"
    assert all(headers["Authorization"] == "Bearer opaque" for headers, _ in seen)
    assert secret not in process.said()
    assert "opaque" not in process.said()
