"""Suite `convex`: how long, with how many mutations and bytes, the relay shows a whole cluster in Convex and mends it.

Real API server, relay process and functions; convex-test in the place of the backend, whose lookups read a whole table
each, so that the seconds are mostly its own. The relay's CPU time, the calls and the bytes are the figures to keep.
"""

import argparse
import asyncio
import json
import os
import random
import re
import time
from collections.abc import Coroutine, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from klipbench import workload
from klipbench.operator_process import usage
from klipcluster.cluster import Cluster, Running
from klipconvex.compare import differences
from klipconvex.server import SECRET, ConvexTestServer, functions_served
from klipstream_kube import Client, load_connection
from klipwebhook.stage import Relay
from klipwebhook.statuses import moment

NAME = "bench"
SWEPT = re.compile(r"Convex: (\d+) rows compared in [\d.]+ s, (\d+) mended")
PATIENCE_SECONDS = 3600.0
MUTATION_BYTES_AT_MOST = 16 << 20
"""What Convex takes as the arguments of one mutation."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    jobs: int
    changes: int
    seed: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """From the start of a relay to the end of its first sweep."""

    seconds: float
    relay_cpu_seconds: float
    peak_memory_bytes: int
    compared: int
    mended: int
    mutations: int
    queries: int
    bytes: int
    """Bodies of all requests."""
    largest_mutation_bytes: int
    failed: int
    """Calls that a function or one of its limits refused."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of the suite."""

    options: Options
    first: Reconciled
    """Into an empty deployment."""
    second: Reconciled
    """After changes that no relay saw."""
    compared: int
    differ: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """The suite's own options."""
    parser.add_argument("--jobs", type=int, default=10_000, help="in the cluster (default: 10000)")
    parser.add_argument("--changes", type=int, default=300, help="that no relay saw (default: 300)")
    parser.add_argument("--seed", type=int, default=1)


def run(options: Options, build: Path) -> Result:
    """Bring up a control plane of its own, measure, and take it down whatever happens."""
    folder = (build / f"convex-{os.getpid()}").resolve()
    folder.mkdir(parents=True)
    cluster = Cluster("bench-convex")
    cluster.down()
    running = cluster.up(control_plane_only=True)
    try:
        return asyncio.run(_measure(options, folder, running))
    finally:
        cluster.down()


async def _measure(options: Options, folder: Path, running: Running) -> Result:
    chance = random.Random(options.seed)
    async with (
        Client(load_connection(str(running.kubeconfig)), user_agent="klipbench") as client,
        functions_served(folder / "convex.log") as convex,
    ):
        await workload.install_crds(client)
        await workload.create_queue(client, "default", 50)
        await workload.submit(client, "default", options.jobs, chance)
        await workload.at_once(
            client.patch_status(
                workload.ANALYSIS_JOBS, f"job-{number:05d}", "default", {"status": _status(number, chance)}
            )
            for number in range(options.jobs)
        )
        first = await _reconciled(folder / "first", running, convex)
        await workload.at_once(_changes(client, options, chance))
        second = await _reconciled(folder / "second", running, convex)
        compared, found = await differences(convex, client, "default", NAME)
        for each in found[:10]:
            print(f"differs: {each}")
        return Result(options, first, second, compared, len(found))


def _status(number: int, chance: random.Random) -> dict[str, Any]:
    """A job that waits, runs or has ended."""
    now = moment()
    accepted = {"queueName": workload.QUEUE, "queuedAt": now, "sequence": number + 1}
    attempt = {"attempt": 1, "jobName": f"job-{number}", "jobUID": str(number), "startedAt": now}
    match chance.randrange(3):
        case 0:
            return accepted | {"phase": "Queued"}
        case 1:
            progress = {"attempt": 1, "percentage": 40.0, "stage": "Transcribing", "updatedAt": now}
            return accepted | {"phase": "Running", "attempt": 1, "attempts": [attempt], "startedAt": now,
                               "progress": progress}  # fmt: skip
        case _:
            ended = attempt | {"finishedAt": now}
            return accepted | {"phase": "Succeeded", "attempt": 1, "attempts": [ended], "startedAt": now,
                               "finishedAt": now}  # fmt: skip


def _changes(client: Client, options: Options, chance: random.Random) -> Iterable[Coroutine[Any, Any, Any]]:
    """A third of them new jobs, a third jobs that are deleted, a third jobs that are changed."""
    chosen = chance.sample(range(options.jobs), options.changes)
    for turn, number in enumerate(chosen):
        name = f"job-{number:05d}"
        if turn % 3 == 0:
            body = workload.analysis_job(f"new-{turn:05d}", "HIGH", f"https://videos.example.com/new-{turn}.mp4")
            yield client.create(workload.ANALYSIS_JOBS, body, "default")
        elif turn % 3 == 1:
            yield client.delete(workload.ANALYSIS_JOBS, name, "default")
        else:
            yield client.patch(workload.ANALYSIS_JOBS, name, "default", {"metadata": {"labels": {"changed": "yes"}}})


async def _reconciled(folder: Path, running: Running, convex: ConvexTestServer) -> Reconciled:
    """Start a relay without memory, wait for the end of its first sweep, and stop it."""
    folder.mkdir()
    secret = folder / "convex-secret"
    secret.write_text(SECRET)
    relay = Relay(
        running.kubeconfig, folder, "default",
        KLIPSTREAM_CONVEX_URL=convex.url, KLIPSTREAM_CONVEX_SECRET_FILE=str(secret),
        KLIPSTREAM_CONVEX_CLUSTER=NAME, KLIPSTREAM_CONVEX_NAMESPACE="default",
        KLIPSTREAM_CONVEX_HEARTBEAT_SECONDS="60", KLIPSTREAM_CONVEX_REQUESTS_SECONDS="0",
        KLIPSTREAM_LEASE_SECONDS="15",
    )  # fmt: skip
    before = await convex.figures()
    began = time.monotonic()
    relay.start()
    try:
        swept = await _swept(relay, began + PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        used = usage(relay.pid)
        relay.stop()  # and gives up its Lease
    finally:
        relay.kill()
    after = await convex.figures()
    calls = {name: int(count - before["calls"].get(name, 0)) for name, count in after["calls"].items()}
    queries = calls.get("sync:page", 0)
    return Reconciled(
        seconds, used.cpu_seconds, used.peak_memory_bytes, int(swept[1]), int(swept[2]),
        sum(calls.values()) - queries, queries, int(after["bytes"] - before["bytes"]),
        int(after["largestMutation"]), int(after["failed"] - before["failed"]),
    )  # fmt: skip


async def _swept(relay: Relay, deadline: float) -> re.Match[str]:
    while True:
        said = SWEPT.search(relay.said())
        if said is not None:
            return said
        if time.monotonic() > deadline or not relay.running:
            raise RuntimeError(f"the relay did not sweep:\n{relay.said()[-3000:]}")
        await asyncio.sleep(0.2)


def write_json(result: Result, file: Path) -> None:
    """Leave the result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(result), indent=1, sort_keys=True) + "\n")


def lines(result: Result) -> list[str]:
    """The figures."""
    said = [
        f"{what}: {each.mended} rows mended of {each.compared} shown before, in {each.seconds:.1f} s (the relay's CPU"
        f" {each.relay_cpu_seconds:.1f} s, peak memory {each.peak_memory_bytes / 2**20:.0f} MiB);"
        f" {each.mutations} mutations, {each.queries} queries, {each.bytes / 2**20:.1f} MiB"
        for what, each in (("an empty deployment", result.first), ("after changes unseen", result.second))
    ]
    largest = max(result.first.largest_mutation_bytes, result.second.largest_mutation_bytes)
    return [
        *said,
        f"largest mutation {largest / 2**10:.0f} KiB of {MUTATION_BYTES_AT_MOST >> 10}; calls refused by a function or"
        f" by a limit: {result.first.failed + result.second.failed}",
        f"convex: {result.options.jobs} jobs reconciled; {result.compared} rows compared, {result.differ} rows differ",
    ]


def broken(result: Result) -> bool:
    """Whether rows differ, something was refused, or a mutation came near its limit."""
    runs = (result.first, result.second)
    largest = max(each.largest_mutation_bytes for each in runs)
    return bool(result.differ or any(each.failed for each in runs) or largest > MUTATION_BYTES_AT_MOST)
