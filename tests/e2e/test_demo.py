"""`make demo` on the real node: the README's first command, twice in a row, and its removal."""

import subprocess
import sys
from pathlib import Path

import pytest

from klipcluster import Cluster

ROOT = Path(__file__).resolve().parents[2]


def demo(command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "klipdemo", command, "--cluster", "local"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.node
@pytest.mark.timeout(1500)
def test_the_demo_keeps_its_promises_twice_in_a_row_and_leaves_nothing() -> None:
    existed = "klipstream-demo" in Cluster.names()
    try:
        for _ in range(2):
            done = demo("up")
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
            assert "4 of 4 promises kept" in done.stdout
        print(done.stdout[-1500:])
    finally:
        if not existed:
            assert demo("down").returncode == 0
    if not existed:
        assert "klipstream-demo" not in Cluster.names()
        assert subprocess.run(["ip", "link", "show", "klip0"], capture_output=True, check=False).returncode != 0
