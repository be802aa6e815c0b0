"""The commands and the Python of docs/rest-api.md, run as they stand there; only host, namespace and key are ours."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from klipcluster.tools import tools_folder
from klipgate.process import Gateway

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/rest-api.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
HOST = "https://queue.example.com"


@pytest.fixture
def run(stack, control_plane, tmp_path: Path):
    """A shell block of the page, in a folder of its own with the tools and a kubeconfig."""
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "KEY": stack.gateway.keys["admin"],
        "CURL_HOME": str(tmp_path),
        "PATH": f"{tools_folder()}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    (tmp_path / ".curlrc").write_text("silent\nfail-with-body\n")

    def shell(block: str) -> "subprocess.CompletedProcess[str]":
        script = block.replace(HOST, stack.gateway.url).replace("-n klipstream ", f"-n {stack.world.namespace} ")
        # The chart is installed for good in test_gateway_chart.py and in make demo.
        script = re.sub(r"helm upgrade (.*)", r"helm upgrade --install --dry-run=client \1", script)
        done = subprocess.run(
            ["bash", "-c", "set -euo pipefail\n" + script],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done

    return shell


def block_with(word: str) -> str:
    (found,) = [block for block in BLOCKS if word in block]
    return found


def test_every_block_of_the_page_is_tried_here():
    tried = {"helm upgrade", "create secret", "/api/v1/analysis"}
    assert [block for block in BLOCKS if sum(word in block for word in tried) != 1] == []


def test_the_chart_takes_the_pages_setting(run):
    assert "klipstream-gateway" in run(block_with("helm upgrade")).stdout


def test_the_key_that_the_page_makes_is_let_in(run, stack, control_plane, tmp_path: Path):
    made = run(block_with("create secret"))
    key = made.stderr.split("The key, shown only now:\n")[1].splitlines()[0]
    secret = json.loads(stack.world.kubectl("get", "secret", "klipstream-api-keys", "-o", "json"))
    gateway = Gateway(control_plane.kubeconfig, tmp_path / "gateway", stack.world.namespace)
    for name, content in secret["data"].items():
        (gateway.keys_folder / name).write_bytes(base64.b64decode(content))
        assert key.encode() not in base64.b64decode(content)
    gateway.start()
    try:
        gateway.wait()
        with gateway.client() as client:
            headers = {"Authorization": f"Bearer {key}"}
            assert client.get("/api/v1/jobs", headers=headers).status_code == 200
            assert client.post("/api/v1/queue/pause", headers=headers).status_code == 403
    finally:
        gateway.kill()


def test_the_pages_submission_is_answered_as_the_page_says(run):
    answer: dict[str, Any] = json.loads(run(block_with("/api/v1/analysis")).stdout)
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    said: dict[str, Any] = json.loads(shown)
    assert said.keys() <= answer.keys()
    assert said["estimate"].keys() == answer["estimate"].keys()
    assert said["links"].keys() <= answer["links"].keys()
    assert (answer["status"], answer["priority"], answer["queue"]) == ("queued", "HIGH", "default")


def test_the_pages_python_submits_and_waits(stack):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"KEY": stack.gateway.keys["admin"]}
    exec(code.replace(HOST, stack.gateway.url), names)
    assert names["done"].status.value == "completed"
