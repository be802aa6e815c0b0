"""CLUSTER=current on a real API server: asked at a terminal, nothing without a yes, and all of it removed again."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from klipcluster import Cluster
from klipcluster.tools import tools_folder
from klipdemo import current
from klipdemo.clusters import NAMESPACE
from klipdemo.current import CRD_GROUP

ROOT = Path(__file__).resolve().parents[2]
IMAGES = "registry.example.com/team"
STORAGE = {
    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubernetes.io/no-provisioner",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
}  # fmt: skip
Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A control plane of this file's own: the demo refuses one that has the custom resources of other tests."""
    folder = tmp_path_factory.mktemp("current")
    cluster = Cluster("theirs", state_dir=folder / "clusters")
    try:
        running = cluster.up(control_plane_only=True)
        config = yaml.safe_load(running.kubeconfig.read_text())
        config["clusters"].append({"name": "away", "cluster": {"server": "https://127.0.0.1:1"}})
        config["contexts"].append({"name": "away", "context": {"cluster": "away", "user": config["users"][0]["name"]}})
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield path
    finally:
        cluster.down()


@pytest.fixture
def kubectl(kubeconfig: Path) -> Iterator[Kubectl]:
    """kubectl of the cluster's owner; what a test left of the demo is removed after it."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        command = [str(tools_folder() / "kubectl"), "--kubeconfig", str(kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout

    run("apply", "-f", "-", stdin=json.dumps(STORAGE))
    yield run
    run("delete", "namespace", NAMESPACE, "elsewhere", "--ignore-not-found")
    run("delete", "-f", str(ROOT / "crds"), "--ignore-not-found")


@pytest.fixture
def environment(kubeconfig: Path) -> dict[str, str]:
    return os.environ | {"KUBECONFIG": str(kubeconfig), "COLUMNS": "200", "TERM": "dumb"}


class Terminal:
    """A person at a terminal, who reads what the demo says and answers its question."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "klipdemo", *arguments, "--cluster", "current"]
        self._demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.said = ""

    def reads(self, words: str | None) -> bool:
        """Read until these words, or to the end; whether they came."""
        deadline = time.monotonic() + 120
        while words is None or words not in self.said:
            assert time.monotonic() < deadline, f"never said {words!r}: {self.said}"
            if not select.select([self._ours], [], [], 1.0)[0]:
                continue
            try:
                self.said += os.read(self._ours, 65536).decode()
            except OSError:  # the other end is closed: Linux says EIO
                return False
        return True

    @property
    def running(self) -> bool:
        return self._demo.poll() is None

    def types(self, answer: str) -> None:
        os.write(self._ours, answer.encode())

    def ends(self) -> int:
        """The exit code; `said` is complete then."""
        self.reads(None)
        os.close(self._ours)
        return self._demo.wait(timeout=60)


def answered(environment: dict[str, str], answer: str, *arguments: str) -> tuple[int, str]:
    """Run the demo at a terminal, answer its question, and wait for its end."""
    terminal = Terminal(environment, *arguments)
    assert terminal.reads("[y/N]"), terminal.said
    terminal.types(answer)
    return terminal.ends(), terminal.said


def crds(kubectl: Kubectl) -> list[str]:
    return [name for name in kubectl("get", "crds", "-o", "name").split() if name.endswith(CRD_GROUP)]


def test_without_a_terminal_nobody_can_agree_and_nothing_happens(environment: dict[str, str], kubectl: Kubectl) -> None:
    command = [sys.executable, "-m", "klipdemo", "up", "--cluster", "current", "--images", IMAGES]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "run it in a terminal" in done.stdout
    assert kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""


@pytest.mark.parametrize("answer", ["n\n", "\n", "yesterday\n", "\x04"], ids=["no", "enter", "another word", "ctrl-d"])
def test_anything_but_a_yes_installs_nothing(environment: dict[str, str], kubectl: Kubectl, answer: str) -> None:
    code, said = answered(environment, answer, "up", "--images", IMAGES)
    assert code == 1
    assert "nothing was changed" in said
    assert kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""
    assert crds(kubectl) == []


def test_a_cluster_that_cannot_see_this_machines_images_is_refused_with_what_to_do(
    environment: dict[str, str], kubectl: Kubectl
) -> None:
    terminal = Terminal(environment, "up")
    assert terminal.ends() == 1
    assert "make push IMAGES=" in terminal.said
    assert "[y/N]" not in terminal.said
    assert kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""


def test_a_namespace_that_is_not_the_demos_is_neither_taken_nor_removed(
    environment: dict[str, str], kubectl: Kubectl
) -> None:
    kubectl("create", "namespace", NAMESPACE)
    for arguments in (["up", "--images", IMAGES], ["down"]):
        terminal = Terminal(environment, *arguments)
        assert terminal.ends() == 1
        assert "was not made by the demo" in terminal.said
    assert kubectl("get", "namespace", NAMESPACE, "-o", "jsonpath={.status.phase}") == "Active"


def test_the_demo_stays_with_its_context_when_the_user_moves_on(
    environment: dict[str, str], kubeconfig: Path, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    shell, found = current.look(tools_folder(), NAMESPACE)
    kubectl("config", "use-context", "away")
    try:
        assert found.context != "away"
        assert "kube-system" in shell.kubectl("get", "namespaces")
        assert shell.helm("list") != ""
    finally:
        kubectl("config", "use-context", found.context)


@pytest.mark.parametrize("used_elsewhere", [False, True], ids=["alone", "others use the custom resources"])
def test_what_a_yes_installed_is_removed_after_another_yes(
    environment: dict[str, str], kubectl: Kubectl, used_elsewhere: bool
) -> None:
    """No node here runs the pods, so the test says what a kubelet says that cannot pull the image."""
    roles = set(kubectl("get", "clusterroles", "-o", "name").split())
    terminal = Terminal(environment, "up", "--images", IMAGES)
    assert terminal.reads("[y/N]"), terminal.said
    terminal.types("y\n")
    no_image(terminal, kubectl)
    assert terminal.ends() == 1
    assert f"cannot get {IMAGES}/klipstream-operator:dev (ImagePullBackOff)" in terminal.said
    namespaces = kubectl("-n", NAMESPACE, "get", "deployment/klipstream-operator", "-o", "jsonpath={..env}")
    assert {"name": "KLIPSTREAM_NAMESPACES", "value": NAMESPACE} in json.loads(namespaces)
    assert len(crds(kubectl)) >= 2

    code, said = answered(environment, "n\n", "down")
    assert code == 1, said
    assert kubectl("-n", NAMESPACE, "get", "deployments", "-o", "name") != ""

    if used_elsewhere:
        kubectl("create", "namespace", "elsewhere")
        kubectl("-n", "elsewhere", "apply", "-f", str(ROOT / "examples" / "first-job.yaml"))
    code, said = answered(environment, "y\n", "down")
    assert code == 0, said
    assert kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""
    assert set(kubectl("get", "clusterroles", "-o", "name").split()) == roles
    if used_elsewhere:
        assert "the custom resources stay" in said
        assert kubectl("-n", "elsewhere", "get", "aj", "-o", "name") != ""
    else:
        assert crds(kubectl) == []

    terminal = Terminal(environment, "down")
    assert terminal.ends() == 0
    assert "nothing to remove" in terminal.said


def no_image(terminal: Terminal, kubectl: Kubectl) -> None:
    """Until the demo ends, give the operator's pods the status that the kubelet gives after some failed pulls."""
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    deadline = time.monotonic() + 240
    said: list[str] = []
    while terminal.running:  # the restart after the installation may bring another pod
        assert time.monotonic() < deadline, f"the demo goes on waiting, with the pods {said}"
        for name, container in _pods(kubectl):
            state = container | {"imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting}}
            if name not in said:
                status = json.dumps({"status": {"containerStatuses": [state]}})
                kubectl("-n", NAMESPACE, "patch", name, "--subresource=status", "--type=merge", "-p", status)
                said.append(name)
        time.sleep(0.2)


def _pods(kubectl: Kubectl) -> list[tuple[str, dict[str, str]]]:
    found = json.loads(kubectl("-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name", "-o", "json"))["items"]
    return [
        (f"pod/{each['metadata']['name']}", {key: each["spec"]["containers"][0][key] for key in ("name", "image")})
        for each in found
    ]
