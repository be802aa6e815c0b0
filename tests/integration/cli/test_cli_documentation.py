"""The five-minute path and every other command of docs/cli.md work as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from klipfake.world import World
from klipstream_cli.app import DLQ_COMMANDS, JOB_COMMANDS, QUEUE_COMMANDS
from klipstream_cli.errors import Exit

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "cli.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_line_works_in_the_order_of_the_page(stage: World, analysis, tmp_path: Path) -> None:
    assert len(commands()) > 20
    leads = ("get", "lease", "klipstream-operator", "-o", "jsonpath={.spec.holderIdentity}")
    stage.until(lambda: bool(stage.kubectl(*leads, check=False)), "an operator leads")
    for line in commands():
        if line == "pip install '.[cli]'":
            installs_the_plugin_and_its_completion(tmp_path / "site")
            continue
        first, *_ = shlex.split(line)
        assert first == "kubectl", line
        if "--name talk" in line:
            stage.change("aq", "default", mode="Paused")  # so that it waits, as the page says, on any machine
        elif line.endswith("watch talk"):
            stage.change("aq", "default", mode="Running")
        # As a user would, in a shell whose context has the namespace; the fake node fails what it is told to.
        fails = "broken.mp4" in line
        extra = " --param fake_exits=1,0 --param fake_log_bytes=30" if fails else ""
        here = "" if " --version" in line or " lint " in line else f" --namespace {stage.namespace}"
        done = subprocess.run(
            ["bash", "-ec", f"{line.replace('examples/', f'{ROOT}/examples/')}{extra}{here}"], cwd=tmp_path,
            env=analysis.environment, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == (1 if fails else 0), f"{line}\n{done.stdout}\n{done.stderr}"
    assert stage.phase("talk") == "Succeeded"
    assert stage.phase("broken") == "Succeeded", "it was run again"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def installs_the_plugin_and_its_completion(site: Path) -> None:
    """Without its dependencies, which are here already."""
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, f"{ROOT}[cli]"], check=True, timeout=240)
    assert (site / "klipstream_cli" / "app.py").is_file()
    assert {"kubectl-analysis", "kubectl_complete-analysis"} <= {path.name for path in (site / "bin").iterdir()}


def test_the_page_names_every_command_and_every_exit_code() -> None:
    table = PAGE.partition("## Commands")[2].partition("```")[0]
    for name in (*JOB_COMMANDS, *QUEUE_COMMANDS, *DLQ_COMMANDS):
        assert re.search(rf"\b{name}\b", table), name
    codes = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert [int(code) for code in codes] == [int(code) for code in Exit]
