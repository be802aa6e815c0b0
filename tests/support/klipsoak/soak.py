"""One soak from its first submission to its judgement."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from klipcluster import Running
from klipfault.proxy import FaultProxy
from klipjudge.audit import read_requests
from klipjudge.history import as_written
from klipjudge.judge import judge
from klipjudge.verdict import Terms
from klipsoak.chaos import Chaos
from klipsoak.faults import rules
from klipsoak.gauges import Growth, Life, Sample, growth, memory_kib, open_files, tasks_in
from klipsoak.traffic import KEPT_SECONDS, Traffic
from klipsweep.audit_slice import cut_out
from klipsweep.case import Stage, counts, make_namespace
from klipsweep.replica import Replica
from klipsweep.sweep import stage
from klipsweep.users import ANALYSIS_JOBS
from klipsweep.workers import Workers

NAMESPACE = "soak"
SUBMIT_EVERY_SECONDS = 0.8
STRIKE_EVERY_SECONDS = 12.0
SAMPLE_EVERY_SECONDS = 2.0
SWEEP_SECONDS = 10
SWEEP_TAKES_SECONDS = 5
"""With what is refused and tried again."""
WIND_DOWN_SECONDS = 180.0
"""What all work that is under way may take to end once no fault comes any more."""
QUIET_SECONDS = 10.0


@dataclass(slots=True)
class Report:
    """What a soak came to."""

    minutes: float
    jobs: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)
    ended_by_themselves: int = 0
    growth: Growth | None = None
    """Of the process that lived longest."""
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Everything, one subject a line; the figures last."""
        injected = self.faults.total() + self.strikes.total()
        lines = [f"{kind:32} {count:6}" for kind, count in sorted((self.faults + self.strikes).items())]
        lines.append(f"jobs by their end: {dict(self.ended)}")
        lines.append(f"processes that ended by themselves: {self.ended_by_themselves}")
        lines += [] if self.growth is None else [str(self.growth)]
        lines += [f"VIOLATION {violation}" for violation in self.violations]
        lines.append(
            f"soak: {self.minutes:g} minutes, {self.jobs} jobs, {injected} faults injected, "
            f"{len(self.violations)} violations"
        )
        return "\n".join(lines)


async def soak(running: Running, minutes: float, seed: int, folder: Path, say: Callable[[str], None]) -> Report:
    """Run one on a control plane that writes an audit log and knows the CRDs."""
    report = Report(minutes)
    async with stage(running, folder) as shared:
        await make_namespace(shared.client, NAMESPACE)
        traffic = Traffic(shared.client, NAMESPACE, random.Random(seed), SUBMIT_EVERY_SECONDS)
        async with AsyncExitStack() as stack:
            replicas = [
                Replica(name, shared.nursery, await stack.enter_async_context(
                    FaultProxy(shared.kubeconfig, counts=counts)), NAMESPACE, folder, SWEEP_SECONDS)
                for name in ("first", "second")
            ]  # fmt: skip
            for number, replica in enumerate(replicas):
                stack.push_async_callback(replica.kill)
                replica.proxy.rules += rules(random.Random(seed + number + 1))
            lives = await _live(shared, traffic, replicas, minutes, seed, report, say)
            await _end(shared, traffic, replicas, report)
            report.ended_by_themselves = sum(replica.ended_by_itself for replica in replicas)
            for replica in replicas:
                report.faults += replica.proxy.record.faults
        report.jobs, report.ended = traffic.submitted, traffic.counts()
        report.violations += traffic.wrong
        await _judge(shared, folder, report)
    veteran = max(lives.values(), key=lambda life: life.seconds)
    report.growth = growth(veteran)
    report.violations += report.growth.leaks
    return report


async def _live(
    shared: Stage,
    traffic: Traffic,
    replicas: Sequence[Replica],
    minutes: float,
    seed: int,
    report: Report,
    say: Callable[[str], None],
) -> dict[str, Life]:
    """The time in which faults are on; the samples of every process that lived in it.

    In the first third any replica may be ended, whoever leads. Afterwards the second one is left alive, so that its
    memory can be looked at, and the first goes on being killed.
    """
    loop = asyncio.get_running_loop()
    began, seconds = loop.time(), 60 * minutes
    chaos = Chaos(
        replicas,
        lambda replica: replica is replicas[0] or loop.time() < began + seconds / 3,
        random.Random(-seed),
        STRIKE_EVERY_SECONDS,
    )
    lives: dict[str, Life] = {}
    workers = Workers(shared.client, NAMESPACE, lambda: [replica.progress_port for replica in replicas])
    for replica in replicas:
        await replica.start()
    async with asyncio.TaskGroup() as tasks:
        await traffic.make_queues()
        lasting = [tasks.create_task(each) for each in (traffic.watch(), workers.run())]
        passing = [tasks.create_task(each) for each in (traffic.submit(), chaos.run(), _sample(replicas, lives))]
        while (left := began + seconds - loop.time()) > 0:
            await asyncio.sleep(min(left, 30))
            faults = sum(replica.proxy.record.injected for replica in replicas)
            say(f"{loop.time() - began:.0f} s: {traffic.submitted} jobs, {len(traffic.unfinished)} unfinished, "
                f"{faults} faults, {chaos.strikes.total()} strikes")  # fmt: skip
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        for replica in replicas:
            replica.proxy.rules.clear()
        try:
            async with asyncio.timeout(WIND_DOWN_SECONDS):
                while traffic.unfinished:
                    await asyncio.sleep(0.5)
        except TimeoutError:
            for replica in replicas:
                replica.explain()
            report.violations.append(f"not over {WIND_DOWN_SECONDS:.0f} s after the last fault: {traffic.unfinished}")
        for task in lasting:
            task.cancel()
    report.strikes = chaos.strikes
    return lives


async def _sample(replicas: Sequence[Replica], lives: dict[str, Life]) -> None:
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
        while True:
            await asyncio.sleep(SAMPLE_EVERY_SECONDS)
            for replica in replicas:
                identity, pid = replica.identity, replica.pid
                if pid is None:
                    continue
                try:
                    async with session.get(f"http://127.0.0.1:{replica.metrics_port}/metrics") as answer:
                        tasks = tasks_in(await answer.text())
                    sample = Sample(
                        loop.time(), memory_kib(pid), open_files(pid), tasks, replica.proxy.record.watches.total()
                    )
                except (aiohttp.ClientError, TimeoutError, OSError):
                    continue  # frozen, not yet started, or gone
                lives.setdefault(identity, Life(identity)).samples.append(sample)


async def _end(shared: Stage, traffic: Traffic, replicas: Sequence[Replica], report: Report) -> None:
    """Everything that finished is purged after its retention, and then nothing is written any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KEPT_SECONDS + 60
    while left := await _to_be_purged(shared):
        if loop.time() > deadline:
            report.violations.append(f"not purged after their retention: {left}")
            break
        await asyncio.sleep(1)
    await asyncio.sleep(3)  # the queues' last figures
    before = [len(replica.proxy.record.writes) for replica in replicas]
    await asyncio.sleep(QUIET_SECONDS)
    for replica, written in zip(replicas, before, strict=True):
        for write in replica.proxy.record.writes[written:]:
            report.violations.append(f"{replica.name} wrote in a steady state: {write.call}")


async def _to_be_purged(shared: Stage) -> list[str]:
    """Jobs that are still there; those that no queue took before they were cancelled are kept for days."""
    jobs, _ = await shared.client.list(ANALYSIS_JOBS, NAMESPACE)
    return [job["metadata"]["name"] for job in jobs if job["status"].get("queueName")]


async def _judge(shared: Stage, folder: Path, report: Report) -> None:
    left, _ = await shared.client.list(ANALYSIS_JOBS, NAMESPACE)
    requests = read_requests(cut_out(shared.audit_log, 0, NAMESPACE, folder / "audit.log"))
    # A patch that a watch swallows counts from the next sweep (docs/guarantees.md).
    terms = Terms(seen_seconds=SWEEP_SECONDS + SWEEP_TAKES_SECONDS, watches_lag=True)
    verdict = judge(requests + as_written(ANALYSIS_JOBS.qualified_name, left), terms)
    report.violations += [f"{each.rule} at {each.revision}: {each.message}" for each in verdict.violations]
