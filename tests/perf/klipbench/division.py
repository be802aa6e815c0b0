"""The same workload on four queues, by one, two and four operators that share them as shards."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from klipbench import workload
from klipbench.figures import requests_by_agent, throughput
from klipbench.operator_process import OperatorProcess, Usage, usage
from klipbench.stage import Stage
from klipbench.variant import Variant
from klipbench.work_off import NAMESPACE, OPERATOR, POLL_SECONDS, Costs, since, until, until_initialized
from klipjudge.judge import judge
from klipstream_operator.sharding import Shard

QUEUES = 4
DIVISIONS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class DividedRun:
    """What so many operators made of it."""

    operators: int
    jobs_per_second: float
    most_by_one: float
    """The largest share of the operators' CPU time that one of them had."""
    costs: Costs
    """With the CPU time of all operators together."""
    broken: list[str]


def queue_names() -> list[str]:
    """A queue for each of four shards, which also divides them evenly by two."""
    named = ((number, f"bench-{n}") for number in range(QUEUES) for n in range(100))
    found: dict[int, str] = {}
    for number, name in named:
        if Shard(number, QUEUES).covers((NAMESPACE, name)):
            found.setdefault(number, name)
    return [found[number] for number in range(QUEUES)]


async def run_divided(stage: Stage, variant: Variant, seed: int, operators: int) -> DividedRun:
    """Submit a workload to all queues in turn, and wait until the operators have worked it off."""
    plan, names = variant.plan(seed), queue_names()
    await workload.create_namespace(stage.client, NAMESPACE)
    for name in names:
        await workload.create_queue(stage.client, NAMESPACE, variant.slots // QUEUES, name=name)
    processes = [
        stage.operator(number + 1, shard=str(number), shards=str(operators), shard_url="http://127.0.0.1/{shard}")
        for number in range(operators)
    ]
    with ExitStack() as ending:
        for process in processes:
            process.start()
            ending.callback(process.stop)
        for number, name in enumerate(names):
            await until_initialized(stage, processes[number % operators], name)
        pids = {f"operator-{number}": process.pid for number, process in enumerate(processes)}
        before = stage.used() | {name: usage(pid) for name, pid in pids.items()}
        mark = stage.mark()
        turn = iter(range(len(plan)))
        await workload.submit_planned(
            stage.client, NAMESPACE, plan, lambda body: body["spec"].update(queueName=names[next(turn) % QUEUES])
        )
        await until(lambda: stage.kubelet.ended >= len(plan), lambda: _ended(stage, processes), variant.mean_seconds)
        while await workload.unfinished(stage.client, NAMESPACE):
            await asyncio.sleep(POLL_SECONDS)
        used = since(stage.used() | {name: usage(pid) for name, pid in pids.items()}, before)
    requests, spent = await stage.requests(), await stage.requests(mark)
    left = await workload.as_left(stage.client, NAMESPACE)
    flow = throughput([request for request in requests if request.namespace == NAMESPACE], variant.slots)
    shares = [used[name].cpu_seconds for name in pids]
    verdict = judge(requests + left)
    counted = requests_by_agent(spent)
    return DividedRun(
        operators=operators,
        jobs_per_second=len(plan) / flow.makespan_seconds,
        most_by_one=max(shares) / sum(shares),
        costs=Costs(len(plan), {agent: dict(counted[agent]) for agent in OPERATOR if agent in counted},
                    {name: used[name] for name in used if name not in pids} | {"operator": _together(used, pids)}),
        broken=[f"{each.rule}: {each.message}" for each in verdict.violations],
    )  # fmt: skip


def _together(used: Mapping[str, Usage], pids: Mapping[str, int]) -> Usage:
    """What all operators used."""
    return Usage(
        sum(used[name].cpu_seconds for name in pids),
        sum(used[name].peak_memory_bytes for name in pids),
        sum(used[name].memory_bytes for name in pids),
    )


def _ended(stage: Stage, processes: list[OperatorProcess]) -> int:
    for process in processes:
        _ = process.pid  # an operator that ended by itself ends the run with its log
    return stage.kubelet.ended
