"""Working off one workload by the operator, or as bare Jobs: what it took, read from the audit log."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from klipbench import workload
from klipbench.figures import Spread, Throughput, requests_by_agent, running_pods, throughput
from klipbench.operator_process import OperatorProcess, Usage, usage
from klipbench.stage import Stage
from klipbench.variant import Submission, Variant, ideal_seconds
from klipbench.waits import admission_seconds, refill_steps, status_age_seconds
from klipjudge.history import Request
from klipjudge.judge import judge
from klipjudge.vocabulary import JOBS

NAMESPACE = "bench"
POLL_SECONDS = 0.5
STALLED_SECONDS = 60.0
"""A run in which nothing ends for so long, beyond the run time of a pod, is given up."""
OPERATOR = ("klipstream-operator", "kopf")
"""The user agents of the operator's requests."""
WRITES = ("create", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run used."""

    jobs: int
    requests: dict[str, dict[str, int]]
    """By user agent, then by verb and resource."""
    used: dict[str, Usage]
    """By process."""

    def cpu_per_thousand(self, process: str) -> float:
        """CPU seconds of a process for 1,000 jobs."""
        return self.used[process].cpu_seconds / self.jobs * 1000 if process in self.used else 0.0

    @property
    def operator_requests(self) -> float:
        """Requests of the operator for a job."""
        return sum(sum(self.requests.get(agent, {}).values()) for agent in OPERATOR) / self.jobs

    @property
    def operator_writes(self) -> float:
        """Of these, writes."""
        counts = [kind for agent in OPERATOR for kind in self.requests.get(agent, {}).items()]
        return sum(count for kind, count in counts if kind.split()[0] in WRITES) / self.jobs


@dataclass(frozen=True, slots=True)
class BareRun:
    """Jobs that nobody queues: what the cluster itself is able to do."""

    throughput: Throughput
    costs: Costs


@dataclass(frozen=True, slots=True)
class QueuedRun:
    """A workload that went through the queue."""

    variant: Variant
    makespan_seconds: float
    """From the first submission to the last pod's end."""
    ideal_seconds: float
    throughput: Throughput
    admission: dict[str, Spread]
    refill_steps: dict[str, Spread]
    status_age: Spread
    costs: Costs
    most_live: int
    inversions: int
    broken: list[str]
    """Promises that the judge found broken, and jobs that were not finished."""
    running: list[tuple[float, int]]
    """Pods that ran, over the seconds of the run."""
    checked: dict[str, int] = field(default_factory=dict)
    """How often the judge checked each rule."""

    @property
    def jobs_per_second(self) -> float:
        """From the first submission to the last pod's end."""
        return self.variant.jobs / self.makespan_seconds

    @property
    def stretch(self) -> float:
        """Makespan over the ideal one."""
        return self.makespan_seconds / self.ideal_seconds


async def run_bare(stage: Stage, jobs: int, seconds: float) -> BareRun:
    """Create so many Kubernetes Jobs as fast as they are taken, and wait for their ends."""
    before = stage.used()
    await workload.create_namespace(stage.client, NAMESPACE)
    await workload.submit_bare_jobs(stage.client, NAMESPACE, jobs, seconds)
    await until(lambda: stage.kubelet.ended >= jobs, lambda: stage.kubelet.ended, seconds)
    while await workload.unfinished_bare_jobs(stage.client, NAMESPACE):
        await asyncio.sleep(POLL_SECONDS)
    costs = Costs(jobs, {}, since(stage.used(), before))
    return BareRun(throughput([r for r in await stage.requests() if r.namespace == NAMESPACE], jobs), costs)


class Company(Protocol):
    """What else works beside the queue during a run."""

    def at(self, stage: Stage, operator: OperatorProcess) -> AbstractAsyncContextManager[Mapping[str, int]]:
        """Bring it up, and take it down again; names and pids of its processes."""

    def changed(self, body: dict[str, Any]) -> None:
        """An AnalysisJob that is about to be submitted."""


async def run_queued(stage: Stage, variant: Variant, seed: int, company: Company | None = None) -> QueuedRun:
    """Submit a workload to a running operator, wait for its end, and judge."""
    plan = variant.plan(seed)
    await workload.create_namespace(stage.client, NAMESPACE)
    await workload.create_queue(stage.client, NAMESPACE, variant.slots)
    operator = stage.operator()
    operator.start()
    try:
        await until_initialized(stage, operator)
        async with company.at(stage, operator) if company is not None else nullcontext({}) as others:
            pids = {"operator": operator.pid, **others}
            before = stage.used() | {name: usage(pid) for name, pid in pids.items()}
            mark = stage.mark()
            await workload.submit_planned(stage.client, NAMESPACE, plan, company.changed if company else None)
            longest = max(each.seconds for each in variant.classes)
            await until_ended(stage, operator, len(plan), longest)
            used = since(stage.used() | {name: usage(pid) for name, pid in pids.items()}, before)
    finally:
        operator.stop()
    requests, spent = await stage.requests(), await stage.requests(mark)
    left = await workload.as_left(stage.client, NAMESPACE)
    return measured(variant, plan, requests, spent, left, used)


def measured(
    variant: Variant, plan: list[Submission], requests: list[Request], spent: list[Request], left: list[Request],
    used: dict[str, Usage],
) -> QueuedRun:  # fmt: skip
    """The figures of a run from its requests; `spent` are those since its begin."""
    verdict = judge(requests + left)
    ours = [request for request in requests if request.namespace == NAMESPACE]
    flow = throughput(ours, variant.slots)
    began = min(request.received for request in ours if request.resource == JOBS and request.verb == "create")
    jobs_began = min(r.received for r in ours if r.resource == "jobs.batch" and r.verb == "create")
    broken = [f"{each.rule}: {each.message}" for each in verdict.violations]
    if len(left) != len(plan):
        broken.append(f"{len(plan)} AnalysisJobs were submitted and {len(left)} are there")
    return QueuedRun(
        variant=variant,
        makespan_seconds=flow.makespan_seconds + jobs_began - began,
        ideal_seconds=ideal_seconds(plan, variant.slots),
        throughput=flow,
        admission=admission_seconds(ours),
        refill_steps=refill_steps(ours),
        status_age=status_age_seconds(ours),
        costs=Costs(len(plan), {a: dict(c) for a, c in requests_by_agent(spent).items()}, used),
        most_live=verdict.most_live,
        inversions=verdict.count("inversion"),
        broken=broken,
        running=running_pods(ours),
        checked={str(rule): count for rule, count in verdict.checked.items()},
    )


async def until_initialized(stage: Stage, operator: OperatorProcess, queue: str = workload.QUEUE) -> None:
    """Wait until the operator leads and has looked the queue over."""
    async with asyncio.timeout(120):
        while not (await workload.queue_status(stage.client, NAMESPACE, queue)).get("initialized"):
            _ = operator.pid  # an operator that ended by itself ends the run with its log
            await asyncio.sleep(POLL_SECONDS)


async def until_ended(stage: Stage, operator: OperatorProcess, jobs: int, run_seconds: float) -> None:
    """Wait until the pods of so many jobs have ended and the queue has counted them all."""
    await until(lambda: stage.kubelet.ended >= jobs, lambda: (stage.kubelet.ended, operator.pid)[0], run_seconds)
    async with asyncio.timeout(STALLED_SECONDS):
        while (await workload.queue_status(stage.client, NAMESPACE)).get("totals", {}).get("succeeded", 0) < jobs:
            _ = operator.pid
            await asyncio.sleep(POLL_SECONDS)


async def until(done: Callable[[], bool], moved: Callable[[], int], run_seconds: float) -> None:
    """Wait for `done`. Raises TimeoutError when nothing has moved for a minute longer than a pod runs."""
    count, moved_at = moved(), time.monotonic()
    while not done():
        if (now := moved()) != count:
            count, moved_at = now, time.monotonic()
        if time.monotonic() > moved_at + STALLED_SECONDS + 2 * run_seconds:
            raise TimeoutError(f"nothing has moved for {STALLED_SECONDS + 2 * run_seconds:.0f} s; {count} ended")
        await asyncio.sleep(POLL_SECONDS)


def since(now: dict[str, Usage], before: dict[str, Usage]) -> dict[str, Usage]:
    """What each process has used meanwhile."""
    return {name: used.since(before[name]) for name, used in now.items() if name in before}
