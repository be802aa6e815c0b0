"""Requests that schemathesis makes up from the gateway's own description, and what it finds."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from klipgate.stack import Stack

# Streams go on for ever, and an operator that is restarted hundreds of times a minute acknowledges nothing.
LEFT_OUT = ("followAll", "followJob", "restartOperator")
# What a schema cannot say: a host that leads inside the cluster, a change of nothing.
UNCHECKED = "positive_data_acceptance"


@dataclass(frozen=True, slots=True)
class Findings:
    """What came of a run. `seen` are operations with the statuses that they answered, and how often."""

    passed: bool
    requests: int
    said: str
    seen: dict[str, Counter[int]]


def run(stack: Stack, folder: Path, *, examples: int, phases: str, seconds: float) -> Findings:
    """Run schemathesis with that many examples for each operation, with the rights of an administrator."""
    description = stack.anyone.get("/api/v1/openapi.json").json()
    (folder / "openapi.json").write_text(json.dumps(description))
    events = folder / "events.ndjson"
    leave_out = [part for name in LEFT_OUT for part in ("--exclude-operation-id", name)]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", str(folder / "openapi.json"),
            "--url", stack.gateway.url, "--header", f"Authorization: Bearer {stack.gateway.keys['admin']}",
            "--max-examples", str(examples), "--seed", "9", "--request-timeout", "60", "--phases", phases,
            "--exclude-checks", UNCHECKED, "--no-color", "--report", "ndjson",
            "--report-ndjson-path", str(events), *leave_out,
        ],
        capture_output=True, text=True, check=False, cwd=folder, timeout=seconds,
    )  # fmt: skip
    seen = _seen(events, description)
    said = done.stdout[-30_000:] + done.stderr[-2000:]
    return Findings(done.returncode == 0, sum(counts.total() for counts in seen.values()), said, seen)


def _seen(events: Path, description: dict[str, Any]) -> dict[str, Counter[int]]:
    """Statuses by operation; requests with a method that a path does not know belong to none."""
    operations = {
        (method.upper(), path): operation["operationId"]
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    with events.open() as file:
        for line in file:
            event = json.loads(line)
            if "ScenarioFinished" not in event:
                continue
            recorder = event["ScenarioFinished"]["recorder"]
            for number, interaction in recorder["interactions"].items():
                case = recorder["cases"][number]["value"]
                operation = operations.get((case["method"], case["path"]))
                if operation is not None and interaction["response"] is not None:
                    seen[operation][interaction["response"]["status_code"]] += 1
    return dict(seen)
