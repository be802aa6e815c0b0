"""Liveness and readiness of real processes: each fails for its own reasons, and for no other."""

import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipcluster import Cluster
from klipcluster.tools import tools_folder
from klipfake.processes import Operator

ROOT = Path(__file__).resolve().parents[2]
BROKEN = "klipfake.broken_operator"
DEADLINE_SECONDS = 60.0


def eventually(condition: Callable[[], bool], what: str, operator: Operator) -> float:
    """Seconds until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < DEADLINE_SECONDS, f"never: {what}\n{operator.said()[-3000:]}"
        time.sleep(0.2)
    return time.monotonic() - began


@pytest.fixture
def start(control_plane, custom_resources, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Starts an operator in the test's namespace, with a fault where one is named, and waits until it is live."""
    operators: list[Operator] = []

    def started(name: str, fault: str | None = None, **settings: str) -> Operator:
        module = "klipstream_operator" if fault is None else BROKEN
        operator = Operator(
            control_plane.kubeconfig, tmp_path / f"{name}.log", namespace, module,
            **(settings | {"KLIPSTREAM_IDENTITY": name, "KLIPFAKE_FAULT": fault or ""}),
        )  # fmt: skip
        operators.append(operator)
        operator.start()
        eventually(lambda: operator.live or not operator.running, "it is live", operator)
        return operator

    yield started
    for operator in operators:
        operator.kill()


@pytest.fixture
def leader(kubectl: Callable[..., Any], namespace: str) -> Callable[[], str]:
    """Who holds the Lease of the test's namespace."""

    def holder() -> str:
        lease = ["lease", "klipstream-operator", "-o", "jsonpath={.spec.holderIdentity}"]
        return str(kubectl("-n", namespace, "get", *lease, check=False).stdout)

    return holder


def test_a_standby_is_live_and_ready(start: Callable[..., Operator], leader: Callable[[], str]) -> None:
    first = start("first")
    eventually(lambda: leader() == "first" and first.ready, "it leads", first)
    second = start("second")
    eventually(lambda: second.ready, "a standby with full caches is ready", second)
    assert leader() == "first"


@pytest.mark.parametrize("fault", ["blocked loop", "frozen"])
def test_an_event_loop_that_hangs_fails_liveness_and_a_standby_takes_over(
    start: Callable[..., Operator], leader: Callable[[], str], fault: str
) -> None:
    broken = start("broken", fault if fault != "frozen" else None)
    eventually(lambda: leader() == "broken", "it leads", broken)
    standby = start("standby")
    if fault == "frozen":
        broken.send(signal.SIGSTOP)
    eventually(lambda: not broken.live, "the probe is not answered", broken)
    assert broken.running
    eventually(lambda: leader() == "standby", "the standby leads", standby)
    assert standby.live


def test_a_lease_that_is_not_renewed_by_a_leader_that_goes_on_fails_liveness(
    start: Callable[..., Operator], leader: Callable[[], str]
) -> None:
    broken = start("broken", "renewal stuck")
    eventually(lambda: leader() == "broken", "it leads", broken)
    eventually(lambda: not broken.live, "liveness fails", broken)
    assert broken.running
    answer = httpx.get(f"http://127.0.0.1:{broken.liveness_port}/healthz", trust_env=False)
    assert "the Lease was not renewed" in answer.text


def test_a_stolen_lease_ends_the_process(
    start: Callable[..., Operator], leader: Callable[[], str], kubectl: Callable[..., Any], namespace: str
) -> None:
    operator = start("first")
    eventually(lambda: leader() == "first", "it leads", operator)
    theft = ["--type=merge", "-p", '{"spec":{"holderIdentity":"thief"}}']
    kubectl("-n", namespace, "patch", "lease", "klipstream-operator", *theft)
    assert operator.code() == 1
    assert "taken by thief" in operator.said()
    assert leader() == "thief", "it does not give up what is another's"


@pytest.mark.parametrize("task", ["events", "progress", "reconciler", "renewal of the Lease", "leading", "sweep"])
def test_a_background_task_that_is_cancelled_takes_the_process_with_it(
    start: Callable[..., Operator], task: str
) -> None:
    broken = start("broken", f"cancelled: {task}")
    assert broken.code() == 1
    assert f"the background task {task} ended" in broken.said()


def test_a_background_task_that_returns_takes_the_process_with_it(start: Callable[..., Operator]) -> None:
    broken = start("broken", "progress returns")
    assert broken.code() == 1
    assert "the background task progress ended" in broken.said()


def test_a_process_that_cannot_end_is_made_to(start: Callable[..., Operator], leader: Callable[[], str]) -> None:
    broken = start("broken", "ending stuck")
    eventually(lambda: leader() == "broken", "it leads", broken)
    broken.send(signal.SIGTERM)
    assert broken.code() == 70
    assert leader() == "", "the Lease was released all the same"


def started_again(operator: Operator) -> Operator:
    """As the kubelet does with a container that ended."""
    if not operator.running:
        assert operator.code() == 1
        operator.start()
    return operator


def restart_the_ended(operators: list[Operator]) -> None:
    """At most one of them, since only a leader ends by itself."""
    ended = [operator for operator in operators if not operator.running]
    assert len(ended) <= 1, [operator.said()[-2000:] for operator in ended]
    for operator in ended:
        started_again(operator)


def leads(operator: Operator) -> bool:
    """Whether it says so to those who scrape it; one that has ended says nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{operator.metrics_port}/metrics", timeout=5) as answer:
            return b'klipstream_operator_leading{shard="0"} 1.0' in answer.read()
    except OSError:
        return False


def test_an_api_server_that_is_away_fails_readiness_and_not_liveness(tmp_path: Path) -> None:
    """The leader ends once, since it cannot renew its Lease; it waits when it is started again. The standby stays."""
    cluster = Cluster("away", state_dir=tmp_path / "clusters")
    operators: list[Operator] = []
    try:
        running = cluster.up(control_plane_only=True)
        kubectl = [str(tools_folder() / "kubectl"), "--kubeconfig", str(running.kubeconfig)]
        subprocess.run([*kubectl, "apply", "-f", str(ROOT / "crds")], check=True, capture_output=True)
        established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]
        subprocess.run([*kubectl, *established], check=True, capture_output=True)
        for name in ("first", "second"):
            operators.append(Operator(running.kubeconfig, tmp_path / f"{name}.log", "default"))
            operators[-1].start()
            eventually(lambda: operators[-1].ready, f"{name} is ready", operators[-1])
        first, second = operators
        # For so short a time nothing is to be seen of it.
        cluster.freeze("kube-apiserver")
        time.sleep(1)
        cluster.thaw("kube-apiserver")
        assert first.ready
        assert second.ready
        cluster.freeze("kube-apiserver")  # accepts connections, and answers nothing
        eventually(lambda: not second.ready, "a standby without an API server is not ready", second)
        cluster.thaw("kube-apiserver")
        eventually(lambda: second.ready, "it is again", second)
        # Whoever leads by now may end once, or have.
        restart_the_ended(operators)
        eventually(
            lambda: all(started_again(operator).ready for operator in operators) and any(map(leads, operators)),
            "both are ready, and one of them leads", first,
        )  # fmt: skip
        cluster.kill("kube-apiserver")
        eventually(lambda: not all(operator.running for operator in operators), "the leader ends", first)
        restart_the_ended(operators)
        for operator in operators:
            eventually(lambda operator=operator: operator.live, "it is live", operator)
            eventually(lambda operator=operator: not operator.ready, "it is not ready", operator)
        time.sleep(10)
        for operator in operators:
            assert operator.running, operator.said()
            assert operator.live
            assert not operator.ready
        cluster.start("kube-apiserver")
        for operator in operators:
            seconds = eventually(lambda operator=operator: operator.ready, "it is ready again", operator)
            print(f"ready {seconds:.1f} s after the API server was started")
        # The API server is away when it is told to end: it does so all the same.
        cluster.kill("kube-apiserver")
        for operator in operators:
            began = time.monotonic()
            assert operator.stop() in (0, 1)
            print(f"ended in {time.monotonic() - began:.1f} s without an API server")
    finally:
        for operator in operators:
            operator.kill()
        cluster.down()
