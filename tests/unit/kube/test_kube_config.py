"""Where the address and the credentials come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from klipstream_kube import JOBS, Client, ConfigurationError, Credentials, load_connection
from klipstream_kube import config as kube_config

ITEM = "/apis/batch/v1/namespaces/ns/jobs/j"


@pytest.fixture(autouse=True)
def no_configuration_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(kube_config, "SERVICE_ACCOUNT", tmp_path / "serviceaccount")


def write_kubeconfig(path: Path, server: str, user: dict, namespace: str | None = None) -> Path:
    context = {"cluster": "c", "user": "u"} | ({"namespace": namespace} if namespace else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "first",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "first", "context": context},
            {"name": "second", "context": context | {"namespace": "of-second"}},
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def write_service_account(directory: Path, token: str = "first") -> Path:
    directory.mkdir()
    (directory / "token").write_text(token + "\n")
    (directory / "namespace").write_text("ours")
    # Any certificate will do: what is read here is the file, and no connection is made with it.
    (directory / "ca.crt").write_bytes(self_signed())
    return directory


def self_signed() -> bytes:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


async def authorization_sent(server, connection) -> str | None:
    server.on("GET", ITEM, server.answer({}))
    async with Client(connection) as client:
        await client.get(JOBS, "j", "ns")
    return server.received[-1].headers.get("Authorization")


@pytest.mark.parametrize("source", ["argument", "KUBECONFIG", "home"])
async def test_a_kubeconfig_is_found(server, tmp_path, monkeypatch, source) -> None:
    path = write_kubeconfig(tmp_path / ".kube" / "config", server.url, {"token": "abc"}, "team")
    if source == "KUBECONFIG":
        path = path.rename(tmp_path / "elsewhere")
        monkeypatch.setenv("KUBECONFIG", str(path))
    connection = load_connection(str(path) if source == "argument" else None)
    assert (connection.server, connection.namespace) == (server.url, "team")
    assert await authorization_sent(server, connection) == "Bearer abc"


async def test_another_context_than_the_current_one_can_be_chosen(server, tmp_path) -> None:
    path = write_kubeconfig(tmp_path / "config", server.url, {"token": "abc"})
    assert load_connection(str(path)).namespace == "default"
    assert load_connection(str(path), context="second").namespace == "of-second"


async def test_an_exec_plugin_is_asked_again_when_its_token_is_refused(server, tmp_path) -> None:
    count = tmp_path / "count"
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, pathlib\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "n = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(n))\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',"
        " 'status': {'token': f't{n}'}}))\n"
    )
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin)],
            "interactiveMode": "Never",
        }
    }
    connection = load_connection(str(write_kubeconfig(tmp_path / "config", server.url, user)))
    server.on("GET", ITEM, server.answer({}), server.refuse(401), server.answer({}))
    async with Client(connection) as client:
        await client.get(JOBS, "j", "ns")
        await client.get(JOBS, "j", "ns")
    assert [each.headers["Authorization"] for each in server.received] == [
        "Bearer t1",
        "Bearer t1",
        "Bearer t2",
    ]


@pytest.mark.parametrize("content", ["", "{", "apiVersion: v1\nkind: Config\n", None])
def test_an_unusable_kubeconfig_is_named(tmp_path, content) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="broken"):
        load_connection(str(path))


def test_an_unknown_context_is_named(server, tmp_path) -> None:
    path = write_kubeconfig(tmp_path / "config", server.url, {"token": "abc"})
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_connection(str(path), context="nowhere")


async def test_in_a_pod_the_service_account_is_used(tmp_path, monkeypatch) -> None:
    write_service_account(tmp_path / "serviceaccount")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    connection = load_connection()
    assert (connection.server, connection.namespace) == ("https://10.0.0.1:443", "ours")
    assert connection.ssl_context is not None
    assert await connection.credentials.header() == "Bearer first"
    (tmp_path / "serviceaccount" / "token").write_text("second")
    connection.credentials.refused()
    assert await connection.credentials.header() == "Bearer second"


async def test_an_ipv6_service_address_is_bracketed(tmp_path, monkeypatch) -> None:
    write_service_account(tmp_path / "serviceaccount")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert load_connection().server == "https://[fd00::1]:443"


def test_a_service_account_outside_of_a_pod_says_what_is_missing(tmp_path) -> None:
    write_service_account(tmp_path / "serviceaccount")
    with pytest.raises(ConfigurationError, match="KUBERNETES_SERVICE_HOST"):
        load_connection()


async def test_a_rotated_token_is_read_again_by_age() -> None:
    tokens = iter(["a", "b"])
    kept = Credentials(lambda _refused: next(tokens), max_age_seconds=3600)
    assert [await kept.header(), await kept.header()] == ["a", "a"]
    tokens = iter(["a", "b"])
    aged = Credentials(lambda _refused: next(tokens), max_age_seconds=0)
    assert [await aged.header(), await aged.header()] == ["a", "b"]


def test_a_pod_does_not_pay_for_the_official_client(tmp_path) -> None:
    directory = write_service_account(tmp_path / "serviceaccount")
    program = (
        "import json, pathlib, sys\n"
        "from klipstream_kube import config\n"
        f"config.SERVICE_ACCOUNT = pathlib.Path({str(directory)!r})\n"
        "config.load_connection()\n"
        "print(json.dumps('kubernetes' in sys.modules))\n"
    )
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) is False
