"""Requests made up from the description itself: what the gateway answers must be what it describes."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from klipgate.stack import Stack, stacked

EXAMPLES = os.environ.get("KLIPSTREAM_EXAMPLES", "100")
# Streams go on for ever, and an operator that is restarted hundreds of times a minute acknowledges nothing.
LEFT_OUT = ("followAll", "followJob", "restartOperator")
# What a schema cannot say: a host that leads inside the cluster, a change of nothing.
UNCHECKED = "positive_data_acceptance"
PHASES = os.environ.get("KLIPSTREAM_PHASES", "examples,coverage,fuzzing,stateful")


@pytest.fixture(scope="module")
def stack(control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    with stacked(kubectl, control_plane.kubeconfig, home, tmp_path_factory.mktemp("gateway")) as stack:
        yield stack
    kubectl("delete", "namespace", home, "--wait=false")


@pytest.mark.timeout(3000)
def test_the_gateway_answers_as_it_describes_itself(stack: Stack, tmp_path: Path):
    description = stack.anyone.get("/api/v1/openapi.json").json()
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    leave_out = [part for name in LEFT_OUT for part in ("--exclude-operation-id", name)]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", str(tmp_path / "openapi.json"),
            "--url", stack.gateway.url, "--header", f"Authorization: Bearer {stack.gateway.keys['admin']}",
            "--max-examples", EXAMPLES, "--seed", "9", "--request-timeout", "60",
            "--phases", PHASES, "--exclude-checks", UNCHECKED, "--no-color", *leave_out,
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=2400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2000:]
    summary = re.findall(r"^.*(?:cases|generated).*$", done.stdout, re.MULTILINE)
    print("\n" + "\n".join(summary))
