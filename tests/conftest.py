"""Fixtures that every suite shares: one control plane a run, a namespace a test."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from klipcluster import Cluster, Running
from klipcluster.tools import tools_folder
from klipdemo import kind

ROOT = Path(__file__).resolve().parent.parent
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", default="local", choices=["local", "kind"], help="where the shared API server runs")


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A real API server, etcd and controller manager with an audit log; no node. With --cluster kind: kind's."""
    if request.config.getoption("cluster") == "kind":
        yield _in_kind(request)
        return
    cluster = Cluster(f"test-{os.getpid()}")
    try:
        yield cluster.up(control_plane_only=True, audit=True)
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def audited(request: pytest.FixtureRequest, control_plane: Running) -> Iterator[Running]:
    """A control plane that writes an audit log: the shared one, or one of its own where that is kind's."""
    if control_plane.audit_log is not None:
        yield control_plane
        return
    cluster = Cluster(f"audited-{os.getpid()}")
    try:
        running = cluster.up(control_plane_only=True, audit=True)
        kubectl = [str(tools_folder() / "kubectl"), "--kubeconfig", str(running.kubeconfig)]
        crds = ["-f", str(ROOT / "crds")]
        subprocess.run([*kubectl, "apply", *crds], check=True)
        subprocess.run([*kubectl, "wait", "--for=condition=Established", *crds, "--timeout=30s"], check=True)
        yield running
    finally:
        cluster.down()


def _in_kind(request: pytest.FixtureRequest) -> Running:
    """pytest-kind's cluster without its scheduler, since the fake kubelet plays the pods; it writes no audit log."""
    options = request.config.option
    # A cluster for each process of pytest-xdist.
    options.cluster_name = "-".join(filter(None, ["klipstream-test", os.environ.get("PYTEST_XDIST_WORKER")]))
    options.kind_bin, options.kind_kubectl_bin = kind.program(), str(tools_folder() / "kubectl")
    options.kubeconfig = str(ROOT / ".pytest-kind" / options.cluster_name / "kubeconfig")
    cluster = request.getfixturevalue("kind_cluster")
    # The fake kubelet plays every pod that is Pending, so kind's own are waited for.
    cluster.kubectl("wait", "pods", "--all", "--all-namespaces", "--for=condition=Ready", "--timeout=180s")
    node = f"{cluster.name}-control-plane"
    subprocess.run(["docker", "exec", node, "rm", "-f", "/etc/kubernetes/manifests/kube-scheduler.yaml"], check=True)
    pod = f"pod/kube-scheduler-{node}"
    cluster.kubectl("--namespace", "kube-system", "wait", pod, "--for=delete", "--timeout=120s")
    server = yaml.safe_load(cluster.kubeconfig_path.read_text())["clusters"][0]["cluster"]["server"]
    return Running(cluster.name, cluster.kubeconfig_path, server, control_plane_only=True, audit_log=None)


@pytest.fixture(scope="session")
def kubectl(control_plane: Running) -> Kubectl:
    """The real kubectl: kubectl("get", "aj", check=False) returns the completed process."""
    environment = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "PATH": f"{tools_folder()}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", *arguments], env=environment, input=stdin, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def custom_resources(kubectl: Kubectl) -> None:
    """The CRDs of crds/, established."""
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "-f", str(ROOT / "crds"), "--timeout=30s")


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
