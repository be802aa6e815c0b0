"""What a node leaves on the machine: nothing, however it ended. Needs root and no other node on this machine."""

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from klipcluster import Cluster, ClusterError
from klipcluster.api import Api

pytestmark = [pytest.mark.node, pytest.mark.skipif(os.geteuid() != 0, reason="a whole node needs root")]

OUTSIDE = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods", "/run/netns")
UNTOUCHED = re.compile(r"#|\*|COMMIT|:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) ACCEPT")
"""Lines of iptables-save that tables without rules show: a table comes into being when it is first looked at."""
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sleeper"},
    "spec": {
        "containers": [
            {
                "name": "sleeper",
                "image": "localhost/klipstream-pause:1",
                "volumeMounts": [{"name": "memory", "mountPath": "/memory"}],
            }
        ],
        "volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}],
    },
}


def machine(state: Path) -> dict[str, list[str]]:
    """Everything on this machine that a node could leave behind."""
    lines = {family: said(f"{family}-save").splitlines() for family in ("iptables", "ip6tables")}
    rules = [line for family in lines.values() for line in family if not UNTOUCHED.match(line)]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("**/kubepods")]
    return {
        "processes": [line for line in said("ps", "-eww", "-o", "args").splitlines() if str(state) in line],
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "routes": said("ip", "route").splitlines(),
        "rules": rules,
        "cgroups": sorted(groups),
        "files": sorted(str(path) for folder in OUTSIDE for path in Path(folder).rglob("*") if not path.is_dir()),
        "state": sorted(str(path) for path in state.rglob("*")),
    }


def changes(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """What came and what went, one line each."""
    counts = [(kind, Counter(before[kind]), Counter(after[kind])) for kind in before]
    came = [f"+ {kind}: {each}" for kind, old, new in counts for each in (new - old).elements()]
    went = [f"- {kind}: {each}" for kind, old, new in counts for each in (old - new).elements()]
    return came + went


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def cluster(state: Path) -> Iterator[Cluster]:
    cluster = Cluster("left", state)
    yield cluster
    cluster.down()


def up_with_a_pod(cluster: Cluster) -> None:
    running = cluster.up()
    api = Api(running.server, running.kubeconfig.parent)
    deadline = time.monotonic() + 180
    while api.reads("/api/v1/namespaces/default/serviceaccounts/default") is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    api.create("/api/v1/namespaces/default/pods", POD)
    while (api.reads("/api/v1/namespaces/default/pods/sleeper") or {}).get("status", {}).get("phase") != "Running":
        assert time.monotonic() < deadline, cluster.processes.log("kubelet").read_text()[-2000:]
        time.sleep(0.1)


def test_down_leaves_nothing_behind(cluster: Cluster, state: Path) -> None:
    before = machine(state)
    up_with_a_pod(cluster)
    during = machine(state)
    unseen = [kind for kind in before if during[kind] == before[kind]]
    assert unseen == [], "a node changes all of these; the comparison would not notice it"
    cluster.down()
    assert changes(before, machine(state)) == []


def test_down_after_a_kill_of_everything_leaves_nothing_behind(cluster: Cluster, state: Path) -> None:
    before = machine(state)
    up_with_a_pod(cluster)
    for name in cluster.processes.names():
        cluster.kill(name)
    cluster.down()
    assert changes(before, machine(state)) == []


def test_up_after_a_kill_of_everything_runs_pods_again(cluster: Cluster) -> None:
    up_with_a_pod(cluster)
    for name in cluster.processes.names():
        cluster.kill(name)
    up_with_a_pod(cluster)


def test_another_kubernetes_on_the_machine_is_not_taken_over(cluster: Cluster) -> None:
    subprocess.run(["iptables", "-t", "nat", "-N", "KUBE-SERVICES"], check=True)
    try:
        with pytest.raises(ClusterError, match="another Kubernetes"):
            cluster.up()
        cluster.down()
        assert ":KUBE-SERVICES " in said("iptables-save", "-t", "nat")
    finally:
        subprocess.run(["iptables", "-t", "nat", "-X", "KUBE-SERVICES"], check=True)
