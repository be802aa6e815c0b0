"""`python -m klipbench cli`: start-up and long lists of `kubectl analysis`, as ratios to kubectl in the same run."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from klipcluster import Cluster
from klipcluster.tools import tools_folder
from klipstream_api.meta import rfc3339
from klipstream_kube import Client, Resource, load_connection

ROOT = Path(__file__).resolve().parents[3]
JOBS = Resource("analysis.klipstream.io", "v1alpha1", "analysisjobs", "AnalysisJob")
NAMESPACE = "bench"
HELP_GOAL, LIST_GOAL = 4.0, 1.5
"""At most so many times kubectl's own time (issue 11)."""
PHASES = ("Queued", "Queued", "Queued", "Running", "Succeeded", "Succeeded", "Failed")
PRIORITIES = ("URGENT", "HIGH", "NORMAL", "LOW")


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured: a list of so many jobs, each command so many times."""

    jobs: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Pair:
    """The median seconds of ours and of kubectl's, run in turns."""

    ours_seconds: float
    kubectl_seconds: float
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours_seconds / self.kubectl_seconds


@dataclass(frozen=True, slots=True)
class Result:
    """All pairs by name."""

    options: Options
    pairs: dict[str, Pair]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the suite."""
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs that are listed")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each command")


def run(options: Options, build: Path) -> Result:
    """Measure on a control plane of its own."""
    with _cluster(build) as kubeconfig:
        environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
        # Beside this interpreter: a first run writes the bytecode that users' later runs read.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        kubectl, ours = str(tools_folder() / "kubectl"), str(Path(sys.executable).with_name("kubectl-analysis"))
        pairs = {
            "--help": _pair([ours, "--help"], [kubectl, "version", "--client"], options.rounds, environment, HELP_GOAL)
        }
        subprocess.run([kubectl, "apply", "-f", str(ROOT / "crds")], env=environment, check=True, capture_output=True)
        subprocess.run([kubectl, "wait", "--for=condition=Established", "-f", str(ROOT / "crds"), "--timeout=60s"],
                       env=environment, check=True, capture_output=True)  # fmt: skip
        subprocess.run([kubectl, "create", "namespace", NAMESPACE], env=environment, check=True, capture_output=True)
        asyncio.run(_fill(kubeconfig, options.jobs))
        pairs[f"list {options.jobs} jobs"] = _pair(
            [ours, "list", "-n", NAMESPACE], [kubectl, "get", "aj", "-n", NAMESPACE], max(3, options.rounds // 2),
            environment, LIST_GOAL,
        )  # fmt: skip
    return Result(options, pairs)


def write_json(result: Result, file: Path) -> None:
    """Leave the figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(result), indent=1) + "\n")


def lines(result: Result) -> list[str]:
    """The table."""
    table = [f"{'command':<24}{'ours':>10}{'kubectl':>10}{'ratio':>8}{'goal':>8}"]
    for name, pair in result.pairs.items():
        table.append(
            f"{name:<24}{pair.ours_seconds * 1000:>7.0f} ms{pair.kubectl_seconds * 1000:>7.0f} ms"
            f"{pair.ratio:>8.2f}{pair.goal:>8.1f}"
        )
    return table


def broken(result: Result) -> bool:
    """Whether a goal was missed."""
    return any(pair.ratio > pair.goal for pair in result.pairs.values())


def _pair(ours: Sequence[str], theirs: Sequence[str], rounds: int, environment: Any, goal: float) -> Pair:
    """In turns, so that what else the machine does hits both alike."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        for name, command in (("ours", ours), ("theirs", theirs)):
            began = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            if number:  # the first one warms caches up
                times[name].append(time.perf_counter() - began)
    return Pair(median(times["ours"]), median(times["theirs"]), goal)


@contextmanager
def _cluster(build: Path) -> Iterator[Path]:
    build.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(f"bench-cli-{os.getpid()}")
    try:
        yield cluster.up(control_plane_only=True).kubeconfig
    finally:
        cluster.down()


async def _fill(kubeconfig: Path, count: int) -> None:
    """Jobs in all phases, with statuses as the operator writes them."""
    now = datetime.now(UTC)
    async with Client(load_connection(str(kubeconfig)), user_agent="bench") as client:
        turns = asyncio.Semaphore(40)

        async def make(number: int) -> None:
            async with turns:
                spec = {
                    "videoUrl": f"https://example.com/videos/{number:08d}.mp4",
                    "videoId": f"{number:08d}",
                    "priority": PRIORITIES[number % 4],
                    "params": {"language": "en", "model": "small"},
                }
                body = {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "spec": spec,
                        "metadata": {"name": f"video-{number:08d}"}}  # fmt: skip
                await client.create(JOBS, body, NAMESPACE, retry=True)
                name = f"video-{number:08d}"
                await client.patch_status(JOBS, name, NAMESPACE, {"status": _status(number, now)})

        await asyncio.gather(*(make(number) for number in range(count)))


def _status(number: int, now: datetime) -> dict[str, Any]:
    phase = PHASES[number % len(PHASES)]
    queued = rfc3339(now - timedelta(minutes=90))
    status: dict[str, Any] = {
        "phase": phase, "queueName": "default", "sequence": number + 1, "queuedAt": queued, "observedGeneration": 1,
    }  # fmt: skip
    if phase == "Queued":
        return status
    started, updated = rfc3339(now - timedelta(minutes=60)), rfc3339(now - timedelta(minutes=1))
    done = phase in ("Succeeded", "Failed")
    percentage = 100 if phase == "Succeeded" else 45
    progress = {"attempt": 1, "percentage": percentage, "stage": "Analyzing", "updatedAt": updated}
    attempt = {"attempt": 1, "jobName": f"job-{number}", "jobUID": f"uid-{number}", "startedAt": started}
    status |= {"attempt": 1, "startedAt": started, "progress": progress, "attempts": [attempt]}
    if done:
        condition = {"type": "Finished", "status": "True", "reason": phase, "message": f"It {phase.lower()}.",
                     "lastTransitionTime": updated}  # fmt: skip
        status |= {"finishedAt": updated, "conditions": [condition]}
    return status
