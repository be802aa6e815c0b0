"""`make e2e SUITE=cli`: the single file, and start-up and long lists as ratios to kubectl."""

import os
import subprocess
from pathlib import Path

import pytest

from klipbench import cli as bench

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def single_file() -> Path:
    subprocess.run(["make", "--silent", "zipapp"], cwd=ROOT, check=True, timeout=900)
    return ROOT / "build" / "kubectl-analysis"


@pytest.mark.timeout(1200)
def test_the_single_file_needs_python_alone_and_works_against_the_api_server(
    single_file: Path, control_plane, custom_resources, namespace: str, tmp_path: Path
) -> None:
    """Copied elsewhere, without this environment's packages."""
    python = Path(os.path.realpath(ROOT / ".venv" / "bin" / "python")).parent
    program = tmp_path / "kubectl-analysis"
    program.write_bytes(single_file.read_bytes())
    program.chmod(0o755)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{python}:/usr/bin:/bin",
        "KUBECONFIG": str(control_plane.kubeconfig),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run([str(program), *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True,
                              check=False, timeout=300)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    here = ("-n", namespace)
    assert "Submit, follow and steer" in run("--help")
    assert "a created" in run("submit", "https://example.com/a.mp4", "--name", "a", *here)
    assert "a" in run("list", "--no-headers", *here).split()
    assert "no-queue" in run("why", "a", "-o", "json", *here)
    assert "0 problems" in run("lint", str(ROOT / "examples" / "queue.yaml"))
    assert "a" in run("top", "--once", *here)
    assert run("__complete", "status", *here, "").splitlines() == ["a", ":4"]


@pytest.mark.timeout(3600)
def test_start_up_and_a_list_of_ten_thousand_jobs_keep_their_ratios_to_kubectl(figures, tmp_path: Path) -> None:
    result = bench.run(bench.Options(jobs=10_000, rounds=9), tmp_path)
    for line in bench.lines(result):
        figures(line)
    assert not bench.broken(result), "\n".join(bench.lines(result))
