"""What goes wrong around the operator is said in words that help, and the rest goes on."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipcluster import Cluster
from klipcluster.tools import tools_folder
from klipfake.ports import free_port
from klipfake.processes import Operator, Process
from klipfake.world import World
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.turnstile import Turnstile


def wait_until_said(operator: Operator, text: str) -> None:

    deadline = time.monotonic() + 120
    while text not in operator.said():
        assert operator.running, operator.said()
        assert time.monotonic() < deadline, operator.said()
        time.sleep(0.1)


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_an_unreachable_api_server_is_waited_for(control_plane, tmp_path: Path) -> None:
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    server = f"https://127.0.0.1:{free_port()}"
    config["clusters"][0]["cluster"]["server"] = server
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    operator = Operator(kubeconfig, tmp_path / "operator.log", "default")
    operator.start()
    try:
        wait_until_said(operator, "The API server cannot be used yet")
        assert server in operator.said()
    finally:
        assert operator.stop() == 0


def test_missing_crds_are_named_and_found_once_they_are_there(tmp_path: Path) -> None:
    cluster = Cluster("no-crds", state_dir=tmp_path / "clusters")
    operator = None
    try:
        running = cluster.up(control_plane_only=True)
        operator = Operator(running.kubeconfig, tmp_path / "operator.log", "default")
        operator.start()
        wait_until_said(operator, "install the CRDs")
        assert not operator.ready
    finally:
        if operator is not None:
            operator.kill()
        cluster.down()


def test_a_missing_right_is_named(control_plane, custom_resources, kubectl: Callable[..., Any], namespace: str,
                                  tmp_path: Path) -> None:  # fmt: skip
    kubectl("-n", namespace, "create", "serviceaccount", "weak")
    rules = "--resource=analysisjobs.analysis.klipstream.io,analysisqueues.analysis.klipstream.io,jobs.batch"
    kubectl("-n", namespace, "create", "role", "weak", "--verb=get,list,watch", rules)
    kubectl("-n", namespace, "create", "rolebinding", "weak", "--role=weak", f"--serviceaccount={namespace}:weak")
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    token = kubectl("-n", namespace, "create", "token", "weak").stdout.strip()
    config["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    operator = Operator(kubeconfig, tmp_path / "operator.log", namespace)
    operator.start()
    try:
        wait_until_said(operator, "pods")
        line = next(line for line in operator.said().splitlines() if "pods" in line)
        assert "list" in line
        assert namespace in line
    finally:
        operator.kill()


@pytest.mark.parametrize(("name", "value"), [("LEASE_SECONDS", "soon"), ("LOG_FORMAT", "xml"), ("TLS_KEY", "/nowhere")])
def test_a_wrong_setting_ends_the_operator_with_one_line(control_plane, tmp_path: Path, name: str, value: str) -> None:
    variable = f"KLIPSTREAM_{name}"
    operator = Process("klipstream_operator", control_plane.kubeconfig, tmp_path / "log", **{variable: value})
    operator.start()
    assert operator.stop() in (2, -15)
    operator.start()

    while operator.running:
        time.sleep(0.05)
    (line, *_) = operator.said().splitlines()
    assert variable in line


def test_a_malformed_object_is_named_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    writer = StatusWriter(client=None, store=store, fence=None, turnstile=Turnstile())  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        broken = {"metadata": {"name": "old", "uid": "u", "resourceVersion": "1"}, "spec": {"priority": "TOP"}}
        assert writer.take(json.loads(json.dumps(broken))) is None
    assert "AnalysisJob old is malformed" in caplog.text
    assert "spec.priority" in caplog.text
    assert not store.jobs


def test_a_restart_of_the_api_server_is_survived(tmp_path: Path) -> None:
    """kill -9 of etcd and the API server while jobs run; the same operator process goes on afterwards."""

    cluster = Cluster("restarted", state_dir=tmp_path / "clusters")
    processes: list[Process] = []
    try:
        running = cluster.up(control_plane_only=True, fsync=True)
        environment = os.environ | {"KUBECONFIG": str(running.kubeconfig)}

        def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> Any:
            return subprocess.run(
                [str(tools_folder() / "kubectl"), *arguments], env=environment, input=stdin, capture_output=True,
                text=True, check=check,
            )  # fmt: skip

        kubectl("apply", "-f", str(Path(__file__).resolve().parents[2] / "crds"))
        kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        operator = Operator(running.kubeconfig, tmp_path / "operator.log", "default", KLIPSTREAM_LEASE_SECONDS="120")
        kubelet = Process("klipfake.kubelet", running.kubeconfig, tmp_path / "kubelet.log", "--seconds", "1")
        processes = [operator, kubelet]
        for process in processes:
            process.start()
        world = World(kubectl, "default", operator)
        world.queue(maxConcurrentJobs=1)
        for number in range(3):
            world.job(f"job-{number}")
        world.until(lambda: "Succeeded" in world.phases().values(), "the first has succeeded")
        for component in ("kube-apiserver", "etcd"):
            cluster.kill(component)
        for component in ("etcd", "kube-apiserver"):
            cluster.start(component)

        def served(path: str) -> bool:
            for component in ("etcd", "kube-apiserver"):
                if not cluster.pid(component):
                    cluster.start(component)  # as a kubelet does with a static pod that ended
            return kubectl("get", "--raw", path, check=False).returncode == 0

        # It is ready a little before it serves custom resources again.
        for path in ("/readyz", "/apis/analysis.klipstream.io/v1alpha1/namespaces/default/analysisjobs"):
            eventually(lambda path=path: served(path), path)
        if not cluster.pid("kube-controller-manager"):
            cluster.start("kube-controller-manager")

        def succeeded() -> bool:
            done = kubectl("get", "aj", "-o", "jsonpath={.items[*].status.phase}", check=False)
            return done.returncode == 0 and done.stdout.split() == ["Succeeded"] * 3

        eventually(succeeded, "all succeeded")
        assert operator.running, operator.said()
    finally:
        for process in processes:
            process.kill()
        cluster.down()
