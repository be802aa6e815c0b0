"""The control plane alone: what `up` and `down` promise, against real processes."""

import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster, ClusterError, Running, releases
from klipcluster.api import Api

NewCluster = Callable[[str], Cluster]


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[NewCluster]:
    made: list[Cluster] = []

    def make(name: str) -> Cluster:
        made.append(Cluster(name, tmp_path / "clusters"))
        return made[-1]

    yield make
    for cluster in made:
        cluster.down()


def api_of(running: Running) -> Api:
    return Api(running.server, running.kubeconfig.parent)


def make_namespace(running: Running, name: str) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api_of(running).create("/api/v1/namespaces", namespace)


def has_namespace(running: Running, name: str) -> bool:
    return api_of(running).reads(f"/api/v1/namespaces/{name}") is not None


def processes_that_name(folder: Path) -> list[str]:
    """Command lines of all processes that mention a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder).encode() in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def command_line(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_STATE_HOME": str(state)}
    command = [sys.executable, "-m", "klipcluster", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_down_leaves_no_process_and_no_file(new_cluster: NewCluster) -> None:
    cluster = new_cluster("gone")
    cluster.up(control_plane_only=True, audit=True)
    assert len(processes_that_name(cluster.folder)) == 3
    cluster.down()
    assert processes_that_name(cluster.folder) == []
    assert list(cluster.folder.parent.iterdir()) == []


def test_a_second_up_keeps_the_running_cluster(new_cluster: NewCluster) -> None:
    cluster = new_cluster("kept")
    first = cluster.up(control_plane_only=True)
    make_namespace(first, "kept")
    pids = {name: cluster.pid(name) for name in cluster.processes.names()}
    assert cluster.up(control_plane_only=True) == first
    assert {name: cluster.pid(name) for name in cluster.processes.names()} == pids
    assert has_namespace(first, "kept")


def test_up_works_after_a_kill_of_everything(new_cluster: NewCluster) -> None:
    cluster = new_cluster("killed")
    make_namespace(cluster.up(control_plane_only=True), "before")
    for name in cluster.processes.names():
        cluster.kill(name)
    with pytest.raises(ClusterError, match="broken"):
        cluster.running()
    again = cluster.up(control_plane_only=True)
    assert has_namespace(again, "default")
    assert not has_namespace(again, "before")
    assert len(processes_that_name(cluster.folder)) == 3


@pytest.mark.parametrize("component", ["etcd", "kube-apiserver", "kube-controller-manager"])
def test_up_mends_a_half_dead_cluster(new_cluster: NewCluster, component: str) -> None:
    cluster = new_cluster("half")
    cluster.up(control_plane_only=True)
    cluster.kill(component)
    again = cluster.up(control_plane_only=True)
    assert has_namespace(again, "default")
    assert len(processes_that_name(cluster.folder)) == 3


def test_two_control_planes_share_nothing(new_cluster: NewCluster) -> None:
    left, right = new_cluster("left"), new_cluster("right")
    on_left, on_right = left.up(control_plane_only=True), right.up(control_plane_only=True)
    make_namespace(on_left, "mine")
    assert not has_namespace(on_right, "mine")
    left.down()
    assert has_namespace(on_right, "default")


def test_a_killed_api_server_comes_back_with_what_was_stored(new_cluster: NewCluster) -> None:
    cluster = new_cluster("back")
    running = cluster.up(control_plane_only=True)
    make_namespace(running, "stored")
    cluster.kill("kube-apiserver")
    assert cluster.pid("kube-apiserver") is None
    assert not has_namespace(running, "default")
    cluster.start("kube-apiserver")
    api = api_of(running)
    while api.reads("/readyz") is None:
        assert cluster.pid("kube-apiserver") is not None, cluster.processes.log("kube-apiserver").read_text()[-2000:]
    assert has_namespace(running, "stored")


def test_a_recycled_pid_is_never_killed(new_cluster: NewCluster) -> None:
    cluster = new_cluster("recycled")
    cluster.up(control_plane_only=True)
    cluster.kill("kube-controller-manager")
    with subprocess.Popen(["sleep", "600"]) as stranger:
        record = cluster.folder / "processes" / "kube-controller-manager.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": stranger.pid}))
        assert cluster.pid("kube-controller-manager") is None
        cluster.down()
        survived = stranger.poll() is None
        stranger.kill()
    assert survived


def test_the_audit_log_holds_the_bodies_of_job_writes_at_once(new_cluster: NewCluster) -> None:
    running = new_cluster("audited").up(control_plane_only=True, audit=True)
    container = {"name": "c", "image": "none"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "audited"}}
    job["spec"] = {"suspend": True, "template": template}
    api_of(running).create("/apis/batch/v1/namespaces/default/jobs", job)
    assert running.audit_log is not None
    events = [
        json.loads(line) for line in running.audit_log.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]
    assert "RequestReceived" not in {event["stage"] for event in events}
    ours = [e for e in events if e["verb"] == "create" and (e.get("objectRef") or {}).get("resource") == "jobs"]
    assert [event["responseObject"]["metadata"]["name"] for event in ours] == ["audited"]


def test_a_stranger_is_refused_by_the_api_server(new_cluster: NewCluster) -> None:
    running = new_cluster("strict").up(control_plane_only=True)
    tls = ssl.create_default_context(cafile=str(running.kubeconfig.parent / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    with pytest.raises(urllib.error.HTTPError) as refusal:
        opener.open(f"{running.server}/api/v1/secrets")
    assert refusal.value.code == 403
    refusal.value.close()


@pytest.mark.parametrize("name", ["", "Upper", "../outside", "a b", "a-", "a" * 33])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    refused = command_line("--name", name, "up", "--control-plane-only", state=tmp_path)
    assert refused.returncode == 1
    assert "cannot name a cluster" in refused.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("command", ["kubeconfig", "status", "env"])
def test_a_cluster_that_is_not_there_is_said_so(command: str, tmp_path: Path) -> None:
    answer = command_line("--name", "nowhere", command, state=tmp_path)
    assert answer.returncode == 1
    assert "there is no cluster nowhere" in answer.stderr
    assert answer.stdout == ""


def test_down_of_nothing_is_no_error(tmp_path: Path) -> None:
    assert command_line("--name", "nowhere", "down", state=tmp_path).returncode == 0


def test_a_node_without_root_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv(releases.VARIABLE, raising=False)  # only one release has a node
    with pytest.raises(ClusterError, match=r"needs root.*--control-plane-only"):
        Cluster("rootless", tmp_path).up()
    assert list(tmp_path.iterdir()) == []


def test_images_are_refused_where_no_pod_runs(new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = new_cluster("podless")
    cluster.up(control_plane_only=True)
    with pytest.raises(ClusterError, match="runs no pods"):
        cluster.load_image(tmp_path / "any.tar")


def test_other_options_do_not_remove_a_running_cluster(new_cluster: NewCluster) -> None:
    cluster = new_cluster("silent")
    running = cluster.up(control_plane_only=True)
    with pytest.raises(ClusterError, match="other options"):
        cluster.up(control_plane_only=True, audit=True)
    assert has_namespace(running, "default")


def test_the_control_plane_is_of_the_release_that_was_asked_for(new_cluster: NewCluster) -> None:
    said = api_of(new_cluster("release").up(control_plane_only=True)).reads("/version")
    assert said is not None
    assert said["gitVersion"] == releases.RELEASES[releases.chosen()]


def test_a_node_of_a_release_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"control plane only: say --control-plane-only"):
        Cluster("nodeless", tmp_path).up(kubernetes=releases.OLDEST)
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_is_not_built_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(releases.VARIABLE, "1.20")
    with pytest.raises(ClusterError, match=r"1\.20 is not built here: choose one of 1\.32, 1\.34, 1\.37"):
        Cluster("ancient", tmp_path).up(control_plane_only=True)
    assert list(tmp_path.iterdir()) == []


def test_another_release_does_not_remove_a_running_cluster(new_cluster: NewCluster) -> None:
    cluster = new_cluster("other")
    running = cluster.up(control_plane_only=True)
    other = next(release for release in releases.RELEASES if release != releases.chosen())
    with pytest.raises(ClusterError, match=f"of Kubernetes {re.escape(releases.chosen())} with other options"):
        cluster.up(control_plane_only=True, kubernetes=other)
    assert has_namespace(running, "default")
