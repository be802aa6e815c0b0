"""Suite `admission`: many queued AnalysisJobs through a bounded queue, judged from the audit log, and bare Jobs."""

import argparse
import asyncio
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from klipbench import workload
from klipbench.fake_kubelet import FakeKubelet
from klipbench.figures import Throughput, requests_by_agent, throughput
from klipbench.operator_process import OperatorProcess, Usage, usage
from klipcluster.cluster import Cluster, Running
from klipjudge.audit import read_requests
from klipjudge.history import Request
from klipjudge.judge import judge
from klipjudge.verdict import Verdict
from klipstream_kube import Client, load_connection

QUEUED, BARE = "bench-queued", "bench-bare"
STALLED_SECONDS = 60.0
"""A run in which nothing finishes for so long, beyond the run time of a pod, is given up."""
POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    jobs: int
    limit: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """One run of the suite."""

    options: Options
    verdict: Verdict
    stalled: int
    """AnalysisJobs that were left when nothing moved any more; 0 in a good run."""
    queued: Throughput
    bare: Throughput
    requests: dict[str, dict[str, int]]
    """Requests while the AnalysisJobs ran, by user agent, then by verb and resource."""
    operator: Usage
    apiserver_cpu_seconds: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """The suite's own options."""
    parser.add_argument("--jobs", type=int, default=1000, help="AnalysisJobs to submit (default: 1000)")
    parser.add_argument("--limit", type=int, default=50, help="maxConcurrentJobs of the queue (default: 50)")
    parser.add_argument("--seconds", type=float, default=1.0, help="mean run time of a pod (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of priorities and run times (default: 1)")


def run(options: Options, build: Path) -> Result:
    """Bring up a control plane of its own, run, judge, and take it down whatever happens."""
    cluster = Cluster("bench-admission")
    cluster.down()
    try:
        running = cluster.up(control_plane_only=True, audit=True)
        return asyncio.run(_run(options, cluster, running, build))
    finally:
        _keep(cluster.folder / "audit.log", build / "admission-audit.log")
        cluster.down()


async def _run(options: Options, cluster: Cluster, running: Running, build: Path) -> Result:
    assert running.audit_log is not None
    apiserver = cluster.pid("kube-apiserver")
    assert apiserver is not None
    chance = random.Random(options.seed)
    connection = load_connection(str(running.kubeconfig))
    async with (
        Client(connection, user_agent="klipbench") as client,
        Client(connection, user_agent="fake-kubelet", max_connections=400) as kubelet_client,
    ):
        kubelet = FakeKubelet(kubelet_client, workload.RandomRuns(options.seconds, chance))
        await workload.install_crds(client)
        async with workload.kubelet_running(kubelet):
            # 1. The queue is paused while the backlog grows; the operator starts into it.
            await workload.create_namespace(client, QUEUED)
            await workload.create_queue(client, QUEUED, options.limit, mode="Paused")
            await workload.submit(client, QUEUED, options.jobs, chance)
            # 2. The operator works it off.
            before = usage(apiserver)
            stalled, used = await _work_off(options, client, running, build)
            apiserver_seconds = usage(apiserver).cpu_seconds - before.cpu_seconds
            # 3. The same number of bare Jobs on the same control plane, without operator and limit.
            requests = await asyncio.to_thread(read_requests, running.audit_log)
            left = await workload.as_left(client, QUEUED)
            await workload.create_namespace(client, BARE)
            await workload.submit_bare_jobs(client, BARE, options.jobs)
            await until_none(lambda: workload.unfinished_bare_jobs(client, BARE), options.seconds)
    everything = await asyncio.to_thread(read_requests, running.audit_log)
    return Result(
        options=options,
        verdict=judge(everything + left),
        stalled=stalled,
        queued=throughput(_within(everything, QUEUED), options.limit),
        bare=throughput(_within(everything, BARE), options.jobs),
        requests={agent: dict(counts) for agent, counts in requests_by_agent(requests).items()},
        operator=used,
        apiserver_cpu_seconds=apiserver_seconds,
    )


async def _work_off(options: Options, client: Client, running: Running, build: Path) -> tuple[int, Usage]:
    """Run the operator until every AnalysisJob is finished; how many were left, and what the operator used."""
    log = build / "admission-operator.log"
    log.unlink(missing_ok=True)
    operator = OperatorProcess(running.kubeconfig, log)
    operator.start()
    try:
        await workload.set_mode(client, QUEUED, "Running")

        async def left() -> int:
            _ = operator.pid  # an operator that ended by itself ends the run with its log
            return await workload.unfinished(client, QUEUED)

        stalled = await until_none(left, options.seconds)
        return stalled, usage(operator.pid)
    finally:
        operator.stop()


async def until_none(left: Callable[[], Awaitable[int]], run_seconds: float) -> int:
    """Wait until nothing is left; what is left when nothing has moved for a minute longer than a pod runs."""
    count = await left()
    moved_at = time.monotonic()
    while count and time.monotonic() < moved_at + STALLED_SECONDS + 2 * run_seconds:
        await asyncio.sleep(POLL_SECONDS)
        now_left = await left()
        if now_left != count:
            count, moved_at = now_left, time.monotonic()
    return count


def _keep(log: Path, kept: Path) -> None:
    """Keep the audit log, so that what the judge said can be looked up after the cluster is gone."""
    if log.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(log, kept)


def _within(requests: Sequence[Request], namespace: str) -> list[Request]:
    return [request for request in requests if request.namespace == namespace]
