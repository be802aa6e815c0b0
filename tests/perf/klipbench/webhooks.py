"""Suite `webhooks`: how fast the relay delivers on loopback, and how much memory 100,000 pending deliveries need.

The ledger is filled beforehand by the relay's own code, then a relay process works with it: dispatcher, ledger, sender
and real receivers are measured, and not the API server, which shares the machine.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from klipbench import workload
from klipbench.operator_process import usage
from klipcluster.cluster import Cluster, Running
from klipstream_kube import Client, load_connection
from klipstream_relay.deliveries import Delivery
from klipstream_relay.directory import facts_of
from klipstream_relay.endpoints import Endpoint
from klipstream_relay.ledger_file import JobRow, LedgerFile
from klipwebhook.stage import Receivers, Relay

BODY = json.dumps({"type": "job.succeeded", "job_id": "0b8f3c1e-0000-4000-8000-000000000001", "pad": "x" * 250})
STALLED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    deliveries: int
    pending: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class Result:
    """One run of the suite."""

    options: Options
    delivered: int
    seconds: float
    """From the first to the last."""
    cpu_seconds: float
    """Of the relay."""
    idle_bytes: int
    """Peak memory of a relay with nothing to do."""
    flowing_bytes: int
    """Peak memory while it delivers."""
    pending_bytes: int
    """Peak memory with all that is pending for endpoints that are down."""
    ledger_bytes: int
    """Size of the ledger with it."""

    @property
    def per_second(self) -> float:
        return self.delivered / self.seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """The suite's own options."""
    parser.add_argument("--deliveries", type=int, default=20_000, help="to deliver (default: 20000)")
    parser.add_argument("--pending", type=int, default=100_000, help="that wait for dead endpoints (default: 100000)")
    parser.add_argument("--endpoints", type=int, default=50, help="that take turns (default: 50)")


def run(options: Options, build: Path) -> Result:
    """Bring up a control plane of its own, measure, and take it down whatever happens."""
    folder = (build / f"webhooks-{os.getpid()}").resolve()
    folder.mkdir(parents=True)
    cluster = Cluster("bench-webhooks")
    cluster.down()
    names = [f"e{number}" for number in range(options.endpoints)]
    taking = Receivers(folder / "taking", None, **dict.fromkeys(names, "ok"))
    dead = Receivers(folder / "dead", None, **dict.fromkeys(names, "dead"))
    running = cluster.up(control_plane_only=True)
    idle, flowing, waiting = (_relay(folder, name, running) for name in ("idle", "flowing", "waiting"))
    try:
        asyncio.run(_install_crds(running))
        taking.listen()
        _until_ready(idle)
        idle_bytes = usage(idle.pid).peak_memory_bytes
        idle.stop()

        _fill(flowing.ledger, taking, options.deliveries)
        _until_ready(flowing)
        delivered, seconds = _until_delivered(flowing, options.deliveries)
        used = usage(flowing.pid)
        flowing.stop()

        _fill(waiting.ledger, dead, options.pending)
        _until_ready(waiting)
        time.sleep(20)
        pending_bytes = usage(waiting.pid).peak_memory_bytes
        ledger_bytes = waiting.ledger.stat().st_size
        waiting.stop()
        return Result(options, delivered, seconds, used.cpu_seconds, idle_bytes, used.peak_memory_bytes, pending_bytes,
                      ledger_bytes)  # fmt: skip
    finally:
        for each in (idle, flowing, waiting):
            each.kill()
        taking.process.kill()
        cluster.down()


async def _install_crds(running: Running) -> None:
    async with Client(load_connection(str(running.kubeconfig)), user_agent="klipbench") as client:
        await workload.install_crds(client)


def _relay(folder: Path, name: str, running: Running) -> Relay:
    place = folder / name
    place.mkdir()
    return Relay(running.kubeconfig, place, "", KLIPSTREAM_LEASE_NAMESPACE="default", KLIPSTREAM_LEASE_SECONDS="15",
                 KLIPSTREAM_CIRCUIT_AT_MOST_SECONDS="300")  # fmt: skip


def _fill(ledger: Path, receivers: Receivers, count: int) -> None:
    """What the announcer would have put there: one finished job for each delivery."""
    file = LedgerFile(ledger)
    file.begin()
    names = list(receivers.ports)
    now = time.time()
    for name in names:
        key = f"callback/default/{name}"
        file.see_endpoint(key, facts_of(Endpoint(key, "default", None, None)), 0.0)
    for number in range(count):
        name = names[number % len(names)]
        uid = f"uid-{number}"
        row = JobRow(uid, "elsewhere", f"job-{number}", uid, None, 1, 1, (), "2026-01-02T03:04:05Z")
        file.record(row, [Delivery(f"msg_{number:032}", f"callback/default/{name}", receivers.url(name),
                                   "job.succeeded", uid, "default", BODY.encode(), now)])  # fmt: skip
    file.commit()
    file.close()


def _until_ready(relay: Relay) -> None:
    relay.start()
    deadline = time.monotonic() + 60
    while not relay.ready:
        if time.monotonic() > deadline or not relay.running:
            raise RuntimeError(f"the relay is not ready:\n{relay.said()[-3000:]}")
        time.sleep(0.05)


def _until_delivered(relay: Relay, count: int) -> tuple[int, float]:
    """How many were delivered, and in how many seconds from the first to the last."""
    deadline = time.monotonic() + STALLED_SECONDS
    query = "SELECT count(*), min(ended), max(ended) FROM deliveries WHERE state = 'delivered'"
    while True:
        time.sleep(1)
        with closing(sqlite3.connect(relay.ledger)) as file:
            delivered, first, last = file.execute(query).fetchone()
        if delivered >= count or time.monotonic() > deadline:
            return delivered, max((last or 0.0) - (first or 0.0), 0.001)


def write_json(result: Result, file: Path) -> None:
    """Leave the result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figures = asdict(result) | {"deliveries_per_second": result.per_second}
    file.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def lines(result: Result) -> list[str]:
    """The figures."""
    mebibytes = [
        f"{what} {size / 2**20:.0f} MiB"
        for what, size in (
            ("idle", result.idle_bytes),
            ("while delivering", result.flowing_bytes),
            (f"with {result.options.pending} pending for dead endpoints", result.pending_bytes),
        )
    ]
    return [
        f"memory of the relay: {', '.join(mebibytes)}; the ledger has {result.ledger_bytes / 2**20:.0f} MiB",
        f"webhooks: {result.delivered} of {result.options.deliveries} delivered to {result.options.endpoints} receivers"
        f" on loopback in {result.seconds:.1f} s, {result.per_second:.0f} deliveries/s,"
        f" {result.cpu_seconds / max(1, result.delivered) * 1000:.2f} ms CPU each",
    ]


def broken(result: Result) -> bool:
    """Whether anything was not delivered, or memory grew with what is pending."""
    grown = result.pending_bytes - result.idle_bytes
    return result.delivered < result.options.deliveries or grown > 64 * 2**20
