"""Rate limits that replicas share, with a real Redis, and without it once it is gone."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from klipcluster.pki import make_pki
from klipfake.ports import free_port
from klipgate.minute import early_in_a_minute
from klipgate.process import Gateway

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "canary-of-redis"
LIMIT = 6


class Redis:
    """A redis-server that keeps nothing on the disk; with a folder of certificates it speaks TLS alone."""

    def __init__(self, folder: Path, certificates: Path | None = None) -> None:
        script = subprocess.run([str(ROOT / "hack/redis-server.sh")], capture_output=True, text=True, check=False)
        assert script.returncode == 0, script.stderr
        self.program, self.folder, self.port = script.stdout.split()[-1], folder, free_port()
        scheme = "redis" if certificates is None else "rediss"
        self.url = f"{scheme}://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._listens = ["--port", str(self.port)]
        if certificates is not None:
            self._listens = [
                "--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no",
                "--tls-cert-file", str(certificates / "apiserver.crt"),
                "--tls-key-file", str(certificates / "apiserver.key"),
                "--tls-ca-cert-file", str(certificates / "ca.crt"),
            ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([
            self.program, *self._listens, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--requirepass", PASSWORD, "--dir", str(self.folder), "--daemonize", "no",
        ], stdout=subprocess.DEVNULL)  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "redis-server does not listen"
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def replicas(stack, control_plane, redis: Redis, tmp_path: Path) -> Iterator[list[Gateway]]:
    """Two replicas with the same keys and one Redis."""
    limits = {"KLIPSTREAM_RATE_STATUS": str(LIMIT), "KLIPSTREAM_RATE_STORAGE": redis.url}
    made = [Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace, **limits) for _ in range(2)]
    with ExitStack() as ends:
        for gateway in made:
            gateway.start()
            ends.callback(gateway.kill)
        for gateway in made:
            gateway.wait()
        yield made


def alone(gateway: Gateway) -> bool:
    text = httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics").text
    return "klipstream_gateway_rate_limits_alone 1.0" in text


def get(gateway: Gateway) -> int:
    """Asked with the same key at every replica; also while another request is on its way to a Redis that is gone."""
    return httpx.get(f"{gateway.url}/api/v1/queues", timeout=60).status_code


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


def test_two_replicas_count_together(replicas):
    codes = [get(replicas[number % 2]) for number in range(LIMIT + 4)]
    assert codes == [200] * LIMIT + [429] * 4
    assert not any(alone(gateway) for gateway in replicas)


def test_wrong_credentials_are_counted_together(replicas):
    wrong = {"Authorization": f"Bearer klip_{'0' * 12}_{'x' * 43}"}
    codes = [
        httpx.get(f"{replicas[number % 2].url}/api/v1/jobs", headers=wrong, timeout=60).status_code
        for number in range(34)
    ]
    assert codes == [401] * 30 + [429] * 4


def test_without_redis_each_replica_counts_by_itself_until_it_is_back(replicas, redis: Redis):
    assert get(replicas[0]) == 200
    redis.kill()
    early_in_a_minute()
    for gateway in replicas:
        assert [get(gateway) for _ in range(LIMIT + 1)] == [200] * LIMIT + [429]
        until(lambda each=gateway: get(each) == 429 and alone(each), "it still counts by itself")
        assert "Redis does not count requests" in gateway.said()
        assert PASSWORD not in gateway.said()
    redis.start()
    until(lambda: not alone(replicas[0]) and get(replicas[0]) == 200, "Redis, which knows of nothing, counts again")
    assert not alone(replicas[0])


@pytest.mark.parametrize("value", ["redis://", "memcached://host", "redis://host:port", "on"])
def test_a_storage_that_is_none_is_refused_and_not_repeated(stack, control_plane, tmp_path: Path, value: str):
    gateway = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace, KLIPSTREAM_RATE_STORAGE=value)
    gateway.start()
    assert gateway.code(120) == 2
    assert "KLIPSTREAM_RATE_STORAGE: use memory" in gateway.said()


def counting(stack, kubeconfig: Path, folder: Path, url: str, authority: Path | None) -> Gateway:
    folder.mkdir()
    trust = {"KLIPSTREAM_RATE_STORAGE_CA": str(authority)} if authority is not None else {}
    gateway = Gateway(
        kubeconfig,
        folder,
        stack.world.namespace,
        KLIPSTREAM_RATE_STATUS=str(LIMIT),
        KLIPSTREAM_RATE_STORAGE=url,
        **trust,
    )
    gateway.start()
    return gateway


def test_with_tls_replicas_count_together_where_the_certificate_is_trusted(stack, control_plane, tmp_path: Path):
    for name in ("ours", "others"):
        make_pki(tmp_path / name, ["127.0.0.1"], "node", "127.0.0.1")
    redis = Redis(tmp_path, tmp_path / "ours")
    redis.start()
    plain = redis.url.replace("rediss:", "redis:")
    cases = {"one": (redis.url, "ours"), "two": (redis.url, "ours"), "wrong": (redis.url, "others"),
             "unknown": (redis.url, None), "plain": (plain, None)}  # fmt: skip
    with ExitStack() as ends:
        ends.callback(redis.kill)
        gateways = {}
        for name, (url, authority) in cases.items():
            trusted = tmp_path / authority / "ca.crt" if authority is not None else None
            gateways[name] = counting(stack, control_plane.kubeconfig, tmp_path / name, url, trusted)
            ends.callback(gateways[name].kill)
        for gateway in gateways.values():
            gateway.wait()
        one, two = gateways.pop("one"), gateways.pop("two")
        assert [get(each) for each in (one, two) * (LIMIT // 2 + 1)] == [200] * LIMIT + [429] * 2
        assert not alone(one)
        assert not alone(two)
        assert PASSWORD not in one.said()
        for name, gateway in gateways.items():
            assert get(gateway) == 200, "the API goes on"
            assert alone(gateway), name
            assert "Redis does not count requests" in gateway.said()
            assert PASSWORD not in gateway.said()
            remedy = "authority that signed it in KLIPSTREAM_RATE_STORAGE_CA" in gateway.said()
            assert remedy == (name != "plain"), gateway.said()


@pytest.mark.parametrize(
    ("url", "authority", "said"),
    [("rediss://host", "/no/such/file", "give certificates"), ("redis://host", "/etc/hostname", "it is for TLS"),
     ("rediss://host", "/etc/hostname", "give certificates")],
)  # fmt: skip
def test_an_authority_that_is_none_is_refused(stack, control_plane, tmp_path: Path, url, authority, said):
    gateway = Gateway(
        control_plane.kubeconfig, tmp_path, stack.world.namespace, KLIPSTREAM_RATE_STORAGE=url,
        KLIPSTREAM_RATE_STORAGE_CA=authority,
    )  # fmt: skip
    gateway.start()
    assert gateway.code(120) == 2
    assert f"KLIPSTREAM_RATE_STORAGE_CA: {said}" in gateway.said()
