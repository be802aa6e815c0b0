"""Suite `admission`: workloads through a bounded queue, beside bare Jobs on the same control plane's flags.

Every run has a control plane of its own; the audit log is the only clock. `run_scale` is the suite `scale`.
"""

import argparse
import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from klipbench.company import Busy
from klipbench.depth import SLOTS, Depth, admit, failover, fill, raise_last, reprioritise, restart
from klipbench.division import DIVISIONS, DividedRun, run_divided
from klipbench.figures import Spread
from klipbench.operator_process import usage
from klipbench.stage import staged
from klipbench.variant import MIXED, SHORT, Variant
from klipbench.work_off import NAMESPACE, BareRun, QueuedRun, run_bare, run_queued

SHALLOW, DEEP = 100, 10_000
PRIORITY_DEPTHS = (10, 1_000)
ADMITTED = 400
"""Jobs that are admitted at each depth."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    only: tuple[str, ...]
    """Parts to run; all where empty."""
    scale: float
    """Share of each workload's jobs, for a quick look."""
    deep: int
    seed: int
    store: bool


@dataclass(slots=True)
class Deep:
    """What a deep backlog costs."""

    shallow: Depth
    deep: Depth
    memory_bytes: int
    """Of the operator with all of it queued."""
    priority_changes: dict[int, Spread] = field(default_factory=dict)
    """By depth, in seconds."""
    restart_seconds: float | None = None
    failover_seconds: float | None = None


@dataclass(slots=True)
class Beside:
    """One workload twice: by itself, and beside a gateway, a relay and workers that report."""

    alone: QueuedRun
    together: QueuedRun
    streams: int
    reported: int
    events: int
    announced: int

    @property
    def loss(self) -> float:
        """The share by which the whole takes longer together."""
        return self.together.makespan_seconds / self.alone.makespan_seconds - 1


@dataclass(slots=True)
class Result:
    """One run of the suite; a part that was not asked for is missing."""

    options: Options
    load_average: tuple[float, float, float]
    """Of the machine, just before: what else ran here."""
    bare: BareRun | None = None
    queued: dict[str, QueuedRun] = field(default_factory=dict)
    busy: Beside | None = None
    deep: Deep | None = None
    divided: list[DividedRun] = field(default_factory=list)
    """The same by one, two and four operators."""


def add_options(parser: argparse.ArgumentParser, deep: int = DEEP) -> None:
    """The suite's own options."""
    parts = ", ".join(PARTS)
    parser.add_argument("--only", nargs="*", default=[], choices=PARTS, help=f"some of its parts only: {parts}")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each workload's jobs (default: 1)")
    parser.add_argument("--deep", type=int, default=deep, help=f"jobs of the deep backlog (default: {deep})")
    parser.add_argument("--seed", type=int, default=1, help="seed of the workloads (default: 1)")
    parser.add_argument("--store", action="store_true", help="store the ratios of this run as the baseline")


def variants(scale: float) -> dict[str, Variant]:
    """The workloads by name."""
    mixed, short = Variant("mixed", round(2000 * scale), 50, MIXED), Variant("short", round(1000 * scale), 50, SHORT)
    steady = Variant("steady", round(1000 * scale), 50, MIXED, load=0.8)
    return {each.name: each for each in (mixed, short, steady)}


PARTS = ("bare", "short", "mixed", "steady", "busy", "divided", "deep")


def run(options: Options, build: Path, measured: Callable[[Result], None]) -> Result:
    """Run every part, each on a fresh control plane; `measured` is told after each what is known so far."""
    return asyncio.run(_run(options, build, measured))


def run_scale(options: Options, build: Path, _: Callable[[Result], None]) -> Result:
    """The deep backlog alone, without what a restart and a failover cost at lesser depth."""
    return asyncio.run(_run_scale(options, build))


async def _run(options: Options, build: Path, measured: Callable[[Result], None]) -> Result:
    result = Result(options, os.getloadavg())
    asked = options.only or PARTS
    if "bare" in asked:
        async with staged("bare", build) as stage:
            result.bare = await run_bare(stage, round(1000 * options.scale), 0.2)
        measured(result)
    for name, variant in variants(options.scale).items():
        if name in asked:
            async with staged(name, build) as stage:
                result.queued[name] = await run_queued(stage, variant, options.seed)
            measured(result)
    if "busy" in asked:
        result.busy = await _busy(options, build)
        measured(result)
    if "divided" in asked:
        variant = Variant("divided", round(600 * options.scale), 48, SHORT)
        for operators in DIVISIONS:
            async with staged(f"divided-{operators}", build) as stage:
                result.divided.append(await run_divided(stage, variant, options.seed, operators))
            measured(result)
    if "deep" in asked:
        result.deep = await _deep(options, build)
    return result


async def _busy(options: Options, build: Path) -> Beside:
    variant = Variant("busy", round(500 * options.scale), 50, MIXED)
    async with staged("busy-alone", build) as stage:
        alone = await run_queued(stage, variant, options.seed)
    company = Busy(NAMESPACE, round(1000 * options.scale))
    async with staged("busy", build) as stage:
        together = await run_queued(stage, variant, options.seed, company)
    return Beside(alone, together, company.streams, company.reported, company.events, company.announced)


async def _deep(options: Options, build: Path) -> Deep:
    async with staged("deep", build) as stage:
        leader, standby = stage.operator(1), stage.operator(2)
        leader.start()
        try:
            seconds = await fill(stage, leader, "shallow", SHALLOW + ADMITTED, SLOTS)
            shallow = await admit(stage, leader, "shallow", SHALLOW, ADMITTED, seconds)
            changes = {
                depth: await reprioritise(stage, leader, f"priority-{depth}", depth)
                for depth in PRIORITY_DEPTHS
                if depth < options.deep
            }
            seconds = await fill(stage, leader, "deep", options.deep + ADMITTED, SLOTS)
            memory = usage(leader.pid).memory_bytes
            found = Deep(shallow, await admit(stage, leader, "deep", options.deep, ADMITTED, seconds), memory, changes)
            found.priority_changes[options.deep] = await raise_last(stage, "deep", options.deep + ADMITTED)
            found.restart_seconds = await restart(stage, leader, "deep")
            found.failover_seconds = await failover(stage, leader, standby, "deep")
            return found
        finally:
            leader.stop()
            standby.stop()


async def _run_scale(options: Options, build: Path) -> Result:
    result = Result(options, os.getloadavg())
    async with staged("scale", build) as stage:
        operator = stage.operator()
        operator.start()
        try:
            seconds = await fill(stage, operator, "shallow", SHALLOW + ADMITTED, SLOTS)
            shallow = await admit(stage, operator, "shallow", SHALLOW, ADMITTED, seconds)
            seconds = await fill(stage, operator, "deep", options.deep + ADMITTED, SLOTS)
            memory = usage(operator.pid).memory_bytes
            deep = await admit(stage, operator, "deep", options.deep, ADMITTED, seconds)
            result.deep = Deep(shallow, deep, memory)
            result.deep.restart_seconds = await restart(stage, operator, "deep")
        finally:
            operator.stop()
    return result
