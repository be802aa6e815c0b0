"""Suite `gateway`: requests a second and their latency, the fan-out of one change to many streams, and memory.

A gateway process on a real API server that holds many waiting jobs; the callers share the machine with both.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from klipbench import workload
from klipbench.operator_process import usage
from klipcluster.cluster import Cluster, Running
from klipgate.process import Gateway
from klipstream_api import names
from klipstream_gateway.cluster import ANALYSIS_JOBS
from klipstream_gateway.views import JOB_ID_LABEL
from klipstream_kube import Client, load_connection

NAMESPACE = "bench-gateway"
CREATED_AT_ONCE = 32
MEMORY_MIB_AT_MOST = 512
"""The chart's limit."""
FAN_OUT_SECONDS_AT_MOST = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    jobs: int
    callers: int
    seconds: float
    streams: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests of one kind, sent by all callers one after the other for some seconds."""

    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """One run of the suite."""

    options: Options
    status: Rate
    submit: Rate
    first_event_seconds: float
    """From opening the streams until each had its first event."""
    fan_out_seconds: float
    """From a change until the last stream had it."""
    streams_reached: int
    memory_bytes: int
    """The most that the gateway held, with all jobs and all streams."""
    memory_with_jobs_bytes: int
    """With all jobs, before any request."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The suite's own options."""
    parser.add_argument("--jobs", type=int, default=10_000, help="waiting AnalysisJobs (default: 10,000)")
    parser.add_argument("--callers", type=int, default=8, help="callers at once (default: 8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each kind of request (default: 10)")
    parser.add_argument("--streams", type=int, default=1000, help="event streams of one job (default: 1,000)")


def run(options: Options, build: Path) -> Result:
    """Bring up a control plane of its own, run, and take it down whatever happens."""
    cluster = Cluster("bench-gateway")
    cluster.down()
    try:
        return asyncio.run(_run(options, cluster.up(control_plane_only=True), build))
    finally:
        cluster.down()


async def _run(options: Options, running: Running, build: Path) -> Result:
    async with Client(load_connection(str(running.kubeconfig)), user_agent="klipbench") as client:
        await workload.install_crds(client)
        await workload.create_namespace(client, NAMESPACE)
        await workload.create_queue(client, NAMESPACE, 2, mode="Paused")
        ids = await _fill(client, options.jobs)
        gateway = Gateway(running.kubeconfig, build / "gateway", NAMESPACE)
        gateway.log.unlink(missing_ok=True)
        gateway.start()
        try:
            await asyncio.to_thread(gateway.wait)
            held = usage(gateway.pid).peak_memory_bytes
            headers = {"Authorization": f"Bearer {gateway.keys['admin']}"}
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(gateway.url, connector=connector, headers=headers) as session:
                turn = itertools.cycle(ids)
                status = await _rate(options, lambda: _get(session, f"/api/v1/jobs/{next(turn)}/status"))
                submit = await _rate(options, lambda: _submit(session))
                first, fan_out, reached = await _fan_out(session, ids[0], options.streams)
            most = usage(gateway.pid).peak_memory_bytes
        finally:
            gateway.kill()
    return Result(options, status, submit, first, fan_out, reached, most, held)


async def _fill(client: Client, jobs: int) -> list[str]:
    """Waiting jobs, as a gateway writes them; their ids."""
    limit = asyncio.Semaphore(CREATED_AT_ONCE)

    async def create(number: int) -> str:
        job_id = f"00000000-0000-4000-8000-{number:012d}"
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "AnalysisJob",
            "metadata": {"name": f"job-{job_id}", "labels": {JOB_ID_LABEL: job_id}},
            "spec": {"videoUrl": "https://example.com/v.mp4", "jobId": job_id},
        }
        async with limit:
            await client.create(ANALYSIS_JOBS, body, NAMESPACE)
        return job_id

    return list(await asyncio.gather(*(create(number) for number in range(jobs))))


async def _get(session: aiohttp.ClientSession, path: str) -> bool:
    async with session.get(path) as answer:
        await answer.read()
        return answer.status == 200


async def _submit(session: aiohttp.ClientSession) -> bool:
    async with session.post("/api/v1/analysis", json={"video_url": "https://example.com/v.mp4"}) as answer:
        await answer.read()
        return answer.status == 202


async def _rate(options: Options, request: Callable[[], Awaitable[bool]]) -> Rate:
    took: list[float] = []
    failed = 0
    began = time.monotonic()

    async def caller() -> None:
        nonlocal failed
        while time.monotonic() - began < options.seconds:
            sent = time.monotonic()
            failed += not await request()
            took.append(time.monotonic() - sent)

    await asyncio.gather(*(caller() for _ in range(options.callers)))
    seconds = time.monotonic() - began
    took.sort()
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    return Rate(len(took), failed, len(took) / seconds, p50 * 1000, p99 * 1000)


async def _fan_out(session: aiohttp.ClientSession, job_id: str, streams: int) -> tuple[float, float, int]:
    """Seconds until every stream had its first event, seconds from a change until the last had it, how many had it."""
    opened = [asyncio.Event() for _ in range(streams)]
    reached = [asyncio.Event() for _ in range(streams)]

    async def follow(number: int) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(f"/api/v1/jobs/{job_id}/events", timeout=timeout) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    (reached if opened[number].is_set() else opened)[number].set()

    began = time.monotonic()
    followers = [asyncio.create_task(follow(number)) for number in range(streams)]
    try:
        async with asyncio.timeout(120):
            await asyncio.gather(*(event.wait() for event in opened))
        first = time.monotonic() - began
        began = time.monotonic()
        async with session.put(f"/api/v1/jobs/{job_id}/priority", json={"priority": "HIGH"}) as answer:
            answer.raise_for_status()
        try:
            async with asyncio.timeout(FAN_OUT_SECONDS_AT_MOST):
                await asyncio.gather(*(event.wait() for event in reached))
        except TimeoutError:
            pass
        return first, time.monotonic() - began, sum(event.is_set() for event in reached)
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


def write_json(result: Result, file: Path) -> None:
    """Leave the whole result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(result), indent=1, sort_keys=True) + "\n")


def broken(result: Result) -> bool:
    """Whether a request failed, a stream missed the change, or the chart's memory limit does not suffice."""
    failed = result.status.failed + result.submit.failed
    too_much = result.memory_bytes > MEMORY_MIB_AT_MOST * 2**20
    return failed > 0 or too_much or result.streams_reached < result.options.streams


def lines(result: Result) -> list[str]:
    """The table, and the figures at the end."""
    table = [f"{'request':<10}{'count':>8}{'failed':>8}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}"]
    for name, rate in (("status", result.status), ("submit", result.submit)):
        table.append(
            f"{name:<10}{rate.requests:>8}{rate.failed:>8}{rate.per_second:>9.0f}{rate.p50_ms:>9.1f}{rate.p99_ms:>9.1f}"
        )
    options = result.options
    return [
        *table,
        "",
        f"one change reached {result.streams_reached} of {options.streams} streams in {result.fan_out_seconds:.2f} s"
        f" (they were opened in {result.first_event_seconds:.1f} s)",
        f"{options.jobs} waiting jobs: {result.memory_with_jobs_bytes / 2**20:.0f} MiB, "
        f"{result.memory_bytes / 2**20:.0f} MiB at most with all streams; {options.callers} callers",
    ]
