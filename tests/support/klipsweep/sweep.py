"""Many cases at once, and what they came to."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from klipcluster import Running
from klipfake.processes import Process
from klipfault.proxy import Moment
from klipstream_kube import Client, load_connection
from klipsweep.case import Case, Crash, Outcome, Stage, run_case
from klipsweep.nursery import Nursery

AT_ONCE = 8
"""A case mostly waits: for a Lease to run out, for a retry, for a pod. Eight of them keep two cores busy."""
GOLDEN_RUNS = 3
TRIES = 3
"""A run that ends before the chosen write is tried again."""


@dataclass(slots=True)
class Findings:
    """What a sweep found."""

    writes: int
    """Writes of the golden run."""
    kinds: Counter[str]
    """Its writes by kind."""
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def reached(self) -> list[Outcome]:
        """Cases in which the crash came; a run may have a few writes less than the golden one."""
        return [outcome for outcome in self.outcomes if outcome.at is not None]

    @property
    def violations(self) -> list[str]:
        """All of them, each with its case and where its logs are."""
        return [
            f"{outcome.case} (at {outcome.at}): {violation} [{outcome.folder}]"
            for outcome in self.outcomes
            for violation in outcome.violations
        ]

    @property
    def crashed_at(self) -> Counter[str]:
        """Crashes by kind of write."""
        return Counter(outcome.at for outcome in self.reached if outcome.at is not None)

    def table(self) -> str:
        """Writes of the golden run and crashes, by kind of write."""
        rows = [f"{'kind of write':64} {'golden':>6} {'crashes':>7}"]
        rows += [f"{kind:64} {count:6} {self.crashed_at[kind]:7}" for kind, count in sorted(self.kinds.items())]
        return "\n".join(rows)

    def last_line(self) -> str:
        """The figures in one line."""
        frozen = sum(1 for outcome in self.reached if outcome.case.crash is Crash.FREEZE)
        cases = len(self.reached)
        told = f"{self.writes} writes x before/after"
        missed = len(self.outcomes) - cases
        return (
            f"crash: {cases} cases ({told} + {frozen} frozen{f', {missed} not reached' if missed else ''}), "
            f"{cases} faults injected, {len(self.violations)} violations"
        )


@asynccontextmanager
async def stage(control_plane: Running, folder: Path) -> AsyncIterator[Stage]:
    """A fake kubelet, a nursery and a client beside a control plane that writes an audit log and knows the CRDs."""
    assert control_plane.audit_log is not None, "the judge reads the audit log"
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, folder / "kubelet.log")
    kubelet.start()
    try:
        async with (
            Client(load_connection(str(control_plane.kubeconfig)), user_agent="users") as client,
            Nursery(folder / "nursery.log") as nursery,
        ):
            yield Stage(client, control_plane.kubeconfig, control_plane.audit_log, nursery, folder)
    finally:
        kubelet.kill()


def all_cases(writes: int, *, every: int = 1, frozen_every: int = 1) -> list[Case]:
    """A crash before and after each `every`th write, restarted and failed over in turn; and freezes in turn too."""
    cases = []
    for ordinal in range(1, writes + 1, every):
        for moment in Moment:
            standby = (ordinal // every + (moment is Moment.AFTER)) % 2 == 0
            cases.append(Case(ordinal, moment, Crash.FAILOVER if standby else Crash.RESTART))
    for place, ordinal in enumerate(range(1, writes + 1, frozen_every)):
        cases.append(Case(ordinal, list(Moment)[place % 2], Crash.FREEZE))
    return cases


async def golden_run(stage: Stage) -> Outcome:
    """A run without a crash: the one with the fewest writes of some that run at once, as the cases will.

    The more there is to do, the more changes are folded into one write, so that runs differ by a few.
    """
    runs = await asyncio.gather(*(run_case(stage, Case()) for _ in range(GOLDEN_RUNS)))
    broken = [violation for run in runs for violation in run.violations]
    assert not broken, f"without any crash: {broken}"
    return min(runs, key=lambda run: len(run.writes))


async def sweep(
    stage: Stage, cases: Sequence[Case], golden: Outcome, say: Callable[[str], None] = lambda _: None
) -> Findings:
    """Run all cases, a few at once. The folders of those without a violation are removed."""
    findings = Findings(len(golden.writes), Counter(write.call.kind_of for write in golden.writes))
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> None:
        for _ in range(TRIES):
            async with slots:
                outcome = await run_case(stage, case)
            if outcome.at is not None or outcome.violations:
                break
        findings.outcomes.append(outcome)
        for violation in outcome.violations:
            say(f"{case} (at {outcome.at}): {violation} [{outcome.folder}]")
        if not outcome.violations and outcome.folder is not None:
            shutil.rmtree(outcome.folder)
        if len(findings.outcomes) % 10 == 0:
            say(f"{len(findings.outcomes)} of {len(cases)} cases, {len(findings.violations)} violations")

    async with asyncio.TaskGroup() as tasks:
        for case in cases:
            tasks.create_task(one(case))
    return findings
