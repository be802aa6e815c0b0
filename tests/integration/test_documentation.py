"""The commands of the README and the guides work as they stand there."""

import os
import re
import shlex
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from klipcluster.tools import tools_folder
from klipfake.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md", "CONTRIBUTING.md", "docs/user-guide.md", "docs/worker-guide.md", "docs/operations.md",
    "docs/guarantees.md", "docs/alerts.md", "docs/recovery.md", "docs/supply-chain.md", "docs/performance.md",
    "docs/versions.md",
]  # fmt: skip
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(page: str) -> list[str]:
    """The lines of the page's bash blocks, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def recording(folder: Path) -> str:
    """URL of two seconds of sound."""
    path = folder / "talk.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x00\x10" * 16_000)
    return path.as_uri()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_works(page: str, world: World, control_plane, tmp_path: Path) -> None:
    world.queue()
    environment = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "PATH": os.pathsep.join([str(tmp_path / "bin"), str(tools_folder()), os.environ["PATH"]]),
        "PYTHONPATH": str(tmp_path),
    }

    def run(*command: str, cwd: Path = ROOT) -> None:
        command = tuple(str(ROOT / word) if word.startswith("examples/") and cwd != ROOT else word for word in command)
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page}: {shlex.join(command)}\n{done.stderr}"

    for line in commands(page):
        words = shlex.split(line, comments=True)
        match words:
            case ["kubectl", "get", "aq,aj", "--all-namespaces", "-o", "json", ">", "backup.json"]:
                (tmp_path / "backup.json").write_text(world.kubectl("get", "aq,aj", "-o", "json"))
            case [".venv/bin/python", "-m", "klipstream_operator.restore", "backup.json"]:
                run(sys.executable, "-m", "klipstream_operator.restore", "backup.json", cwd=tmp_path)
            case ["kubectl", *rest]:
                run("kubectl", "--namespace", world.namespace, *rest)
            case ["helm", *rest]:
                run("helm", *rest, "--dry-run=client")
            case ["make", target, *settings]:
                assert target in TARGETS, f"{page}: there is no target {target}"
                assert {setting.split("=")[0] for setting in settings} <= VARIABLES, f"{page}: {line}"
            case [".venv/bin/python", "-m", "klipcluster", *rest]:
                cluster = " ".join(rest)
                assert re.fullmatch(r"--name dev (up --control-plane-only|down)", cluster), cluster
            case ["python3", "-c", program]:
                run(sys.executable, "-c", program)
            case ["pip", "install", "./worker"]:
                offline = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(tmp_path)]
                run(sys.executable, "-m", "pip", "install", *offline, "./worker")
            case ["python", "examples/worker/after.py", _]:
                run(sys.executable, "examples/worker/after.py", recording(tmp_path), cwd=tmp_path)
                assert (tmp_path / "analysis-results").is_dir()
            case ["klipstream-progress" | "klipstream-worker", *_]:
                run(*words)
            case ["curl", *_]:
                assert "$ANALYSIS_PROGRESS_URL" in words, "what the worker posts is tried in test_progress.py"
            case _:
                pytest.fail(f"{page}: nobody tries `{line}`; teach this test to run it")
