"""The commands of the README and the guides work as they stand there."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from klipcluster.tools import tools_folder
from klipfake.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "docs/user-guide.md", "docs/operations.md", "docs/guarantees.md"]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(page: str) -> list[str]:
    """The lines of the page's bash blocks, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_works(page: str, world: World, control_plane) -> None:
    world.queue()
    environment = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "PATH": f"{tools_folder()}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page}: {shlex.join(command)}\n{done.stderr}"

    for line in commands(page):
        words = shlex.split(line, comments=True)
        match words:
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
            case ["curl", *_]:
                assert "$ANALYSIS_PROGRESS_URL" in words, "what the worker posts is tried in test_progress.py"
            case _:
                pytest.fail(f"{page}: nobody tries `{line}`; teach this test to run it")
