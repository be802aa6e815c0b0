"""`python -m klipsim`: many seeded runs, or one of them in detail; the last line gives the figures."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from klipsim.coverage import Hits, matrix, missing
from klipsim.run import Result, Scenario, run, simulate
from klipsim.shrink import shrunk
from klipsim.trace import lines

SHOWN_AT_MOST = 10
RUNS_FOR_COVERAGE = 10_000
"""So many runs are to hit every cell of the matrix."""


def main() -> int:
    """0 if no promise was broken (and, from RUNS_FOR_COVERAGE runs on, every cell was hit)."""
    parser = argparse.ArgumentParser(prog="python -m klipsim", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at the same time")
    parser.add_argument("--seed", type=int, help="only this one, with what happened")
    parser.add_argument("--about", default="", help="with --seed: only what concerns this job or queue")
    parser.add_argument("--shrink", action="store_true", help="with --seed: leave out what does not matter")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of a run.
        arguments = [sys.executable, "-m", "klipsim", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | {"PYTHONHASHSEED": "0"})
    if options.seed is not None:
        return _one(options.seed, options.about, options.shrink)
    return _many(range(options.first, options.first + options.runs), options.processes)


def _one(seed: int, about: str, shrink: bool) -> int:
    scenario = Scenario.of(seed)
    if shrink:
        scenario, result = shrunk(scenario, lambda text: print(text, flush=True))
    else:
        result = run(scenario)
    print(f"seed {seed}: {scenario.replicas} replicas, rooms {scenario.plan.rooms}")
    for part in (*scenario.faults, *scenario.plan.reactions, *scenario.plan.actions):
        print(f"  {part}")
    for line in lines(result.history, about):
        print(line)
    for violation in result.violations:
        print(f"violation: {violation}")
    print(f"simulate: 1 run, {sum(result.hit.values())} faults injected, {len(result.violations)} violations")
    return 1 if result.violations else 0


def _many(seeds: range, processes: int) -> int:
    began = time.monotonic()
    hits: Hits = Counter()
    totals: Counter[str] = Counter()
    failed: list[Result] = []
    least = _Least()
    with ProcessPoolExecutor(processes, initializer=_settle) as pool:
        try:
            for done, result in enumerate(pool.map(_without_history, seeds, chunksize=8), 1):
                hits += result.hit
                least = least.down_to(result)
                totals += Counter(writes=result.writes, jobs=result.jobs, seconds=int(result.seconds))
                if result.violations:
                    failed.append(result)
                    if len(failed) <= SHOWN_AT_MOST:
                        _show(result)
                if done % 500 == 0:
                    print(f"{done} runs in {time.monotonic() - began:.0f} s, {len(failed)} failed", flush=True)
        except BrokenProcessPool:
            print("simulate: a process died; nothing can be said", file=sys.stderr)
            return 2
    runs = len(seeds)
    print(matrix(hits))
    unhit = missing(hits)
    print(f"{len(unhit)} cells that could be hit were not" + (f": {unhit[:12]}" if unhit else ""))
    print(
        f"{runs} runs in {time.monotonic() - began:.0f} s: on average {totals['jobs'] / runs:.1f} jobs,"
        f" {totals['writes'] / runs:.0f} writes, {hits.total() / runs:.1f} faults, {totals['seconds'] / runs:.0f} s"
        " of simulated time"
    )
    print(
        f"each run had at least {least.jobs} jobs, {least.all_writes} writes ({least.writes} by operators) and"
        f" {least.faults} faults"
    )
    broken = sum(len(result.violations) for result in failed)
    print(f"simulate: {runs} runs, {hits.total()} faults injected, {broken} violations")
    return 1 if broken or (unhit and runs >= RUNS_FOR_COVERAGE) else 0


@dataclass(frozen=True, slots=True)
class _Least:
    """The least that any run had."""

    jobs: int = 10**9
    writes: int = 10**9
    all_writes: int = 10**9
    faults: int = 10**9

    def down_to(self, result: Result) -> _Least:
        return _Least(
            min(self.jobs, result.jobs),
            min(self.writes, result.writes),
            min(self.all_writes, result.all_writes),
            min(self.faults, result.hit.total()),
        )


def _settle() -> None:
    """What was imported never needs to be looked at again by the garbage collector, which runs after each run."""
    gc.collect()
    gc.freeze()


def _without_history(seed: int) -> Result:
    return simulate(seed, keep_history=False)


def _show(result: Result) -> None:
    for violation in result.violations[:3]:
        print(f"seed {result.seed}: {violation}", flush=True)
    print(f"  replay it: make simulate SEED={result.seed}; make it smaller: make simulate SEED={result.seed} SHRINK=1")


if __name__ == "__main__":
    sys.exit(main())
