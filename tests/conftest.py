"""Fixtures that every suite shares: one control plane a run, a namespace a test."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from klipcluster import Cluster, Running
from klipcluster.tools import tools_folder

ROOT = Path(__file__).resolve().parent.parent
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A machine takes one node: the tests that start one run in one process, one after the other."""
    for item in items:
        if item.get_closest_marker("node") is not None:
            item.add_marker(pytest.mark.xdist_group("node"))


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Running]:
    """A real API server, etcd and controller manager with an audit log; no node."""
    cluster = Cluster(f"test-{os.getpid()}")
    try:
        yield cluster.up(control_plane_only=True, audit=True)
    finally:
        cluster.down()


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
