"""`make demo` on the real node, or on kind: the README's first command, twice in a row, and its removal."""

import subprocess
import sys
from pathlib import Path

import pytest

from klipcluster import Cluster
from klipdemo.clusters import NAME

ROOT = Path(__file__).resolve().parents[2]


def demo(command: str, cluster: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "klipdemo", command, "--cluster", cluster],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def traces(cluster: str) -> list[str]:
    """What a demo leaves behind while it is there."""
    if cluster == "kind":
        label = f"label=io.x-k8s.kind.cluster={NAME}"
        listed = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True)
        return [*listed.stdout.split(), *(str(path) for path in ROOT.glob("build/kind"))]
    bridge = subprocess.run(["ip", "link", "show", "klip0"], capture_output=True, check=False).returncode == 0
    return [name for name in Cluster.names() if name == NAME] + ["klip0"] * bridge


@pytest.mark.node
@pytest.mark.kind
@pytest.mark.timeout(1500)
def test_the_demo_keeps_its_promises_twice_in_a_row_and_leaves_nothing(request: pytest.FixtureRequest) -> None:
    cluster = request.config.getoption("cluster")
    existed = bool(traces(cluster))
    try:
        for _ in range(2):
            done = demo("up", cluster)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
            assert "4 of 4 promises kept" in done.stdout
        print(done.stdout[-1500:])
    finally:
        if not existed:
            assert demo("down", cluster).returncode == 0
    if not existed:
        assert traces(cluster) == []
