"""What a deep backlog costs: jobs admitted from it, a changed priority, a restart and a failover."""

import asyncio
import time
from dataclasses import dataclass

from klipbench import workload
from klipbench.figures import Spread, requests_by_agent, spread, throughput
from klipbench.operator_process import OperatorProcess, usage
from klipbench.stage import Stage
from klipbench.variant import SHORT, Submission
from klipbench.work_off import POLL_SECONDS, Costs, since, until

SLOTS = 50
FEW_SLOTS = 10
"""Slots of the queue in which priorities are changed: fewer, so that its backlog lasts."""
CHANGED = 10
"""Jobs whose priority is raised, one after the other."""
BETWEEN_SECONDS = 0.3
AFTER_SECONDS = 5.0
"""For the last of them to start, before the queue is paused again."""
STANDBY_READY = "Waiting for the Lease"
ACCEPTED_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Depth:
    """Jobs admitted while at least so many wait behind them."""

    depth: int
    accepted_seconds: float
    """From the first submission until all wait in the queue."""
    refill_p50_seconds: float
    refill_p99_seconds: float
    jobs_per_second: float
    costs: Costs

    def over(self, shallow: "Depth") -> dict[str, float]:
        """Its figures as multiples of those of a shallow backlog."""
        ours, theirs = self.costs, shallow.costs
        return {
            "seconds per job": shallow.jobs_per_second / self.jobs_per_second,
            "operator requests per job": ours.operator_requests / theirs.operator_requests,
            "operator CPU per job": ours.cpu_per_thousand("operator") / theirs.cpu_per_thousand("operator"),
            "API server CPU per job": ours.cpu_per_thousand("kube-apiserver")
            / theirs.cpu_per_thousand("kube-apiserver"),
        }


async def fill(stage: Stage, operator: OperatorProcess, namespace: str, jobs: int, slots: int) -> float:
    """Put so many jobs into a paused queue; the seconds until all were accepted."""
    await workload.create_namespace(stage.client, namespace)
    await workload.create_queue(stage.client, namespace, slots, mode="Paused")
    began = time.monotonic()
    await workload.submit_planned(stage.client, namespace, low(jobs))
    async with asyncio.timeout(ACCEPTED_SECONDS):
        while (await workload.queue_status(stage.client, namespace)).get("queued", 0) < jobs:
            _ = operator.pid
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


def low(jobs: int) -> list[Submission]:
    """Short jobs of low priority, all at once."""
    return [Submission(f"low-{number:06d}", SHORT[-1], 0.0) for number in range(jobs)]


async def admit(
    stage: Stage, operator: OperatorProcess, namespace: str, depth: int, jobs: int, accepted_seconds: float
) -> Depth:
    """Let a paused queue start so many jobs, and pause it again."""
    before, mark, ended = stage.used() | {"operator": usage(operator.pid)}, stage.mark(), stage.kubelet.ended
    await workload.set_mode(stage.client, namespace, "Running")
    await until(lambda: stage.kubelet.ended >= ended + jobs, lambda: stage.kubelet.ended, 1)
    used = since(stage.used() | {"operator": usage(operator.pid)}, before)
    await pause(stage, namespace)
    requests = await stage.requests(mark)
    flow = throughput([r for r in requests if r.namespace == namespace], SLOTS)
    counts = {agent: dict(kinds) for agent, kinds in requests_by_agent(requests).items()}
    return Depth(depth, accepted_seconds, flow.refill_p50_seconds, flow.refill_p99_seconds, flow.jobs_per_second,
                 Costs(jobs, counts, used))  # fmt: skip


async def pause(stage: Stage, namespace: str) -> None:
    """Pause a queue and wait until nothing of it runs."""
    await workload.set_mode(stage.client, namespace, "Paused")
    async with asyncio.timeout(120):
        while (await workload.queue_status(stage.client, namespace)).get("active", 0):
            await asyncio.sleep(POLL_SECONDS)


async def reprioritise(stage: Stage, operator: OperatorProcess, namespace: str, depth: int) -> Spread:
    """Raise the last jobs of a backlog of its own to URGENT, see `raise_last`."""
    jobs = depth + 20 * CHANGED
    await fill(stage, operator, namespace, jobs, FEW_SLOTS)
    return await raise_last(stage, namespace, jobs)


async def raise_last(stage: Stage, namespace: str, jobs: int) -> Spread:
    """Raise the last of so many jobs to URGENT while they are worked off: from the patch to the create of the Job."""
    mark = stage.mark()
    await workload.set_mode(stage.client, namespace, "Running")
    chosen = [each.name for each in low(jobs)[-CHANGED:]]
    for name in chosen:
        await asyncio.sleep(BETWEEN_SECONDS)
        await workload.set_priority(stage.client, namespace, name, "URGENT")
    await asyncio.sleep(AFTER_SECONDS)
    await pause(stage, namespace)
    patched: dict[str, float] = {}
    waited = []
    for request in await stage.requests(mark):
        metadata = request.answer.get("metadata") or {}
        if request.namespace != namespace:
            continue
        if request.name in chosen and request.verb == "patch" and not request.subresource:
            patched.setdefault(metadata["uid"], request.received)
        elif request.resource == "jobs.batch" and request.verb == "create":
            owner = metadata["ownerReferences"][0]["uid"]
            if owner in patched:
                waited.append(request.received - patched.pop(owner))
    return spread(waited + [float("inf")] * len(patched))


async def restart(stage: Stage, operator: OperatorProcess, namespace: str) -> float:
    """Stop the operator, start it again into a full queue: seconds from the start of the process to its first Job."""
    operator.stop()
    await workload.set_mode(stage.client, namespace, "Running")
    mark, began = stage.mark(), time.time()
    operator.start()
    await until(lambda: bool(stage.mark() > mark and _creates(stage, mark)), stage.mark, 1)
    first = min(_creates(stage, mark))
    await pause(stage, namespace)
    return first - began


async def failover(stage: Stage, leader: OperatorProcess, standby: OperatorProcess, namespace: str) -> float:
    """kill -9 of the leader while a standby is ready: seconds from the kill to the standby's first Job."""
    standby.start()
    async with asyncio.timeout(120):
        while STANDBY_READY not in standby.said():
            _ = standby.pid
            await asyncio.sleep(POLL_SECONDS)
    await workload.set_mode(stage.client, namespace, "Running")
    ended = stage.kubelet.ended
    await until(lambda: stage.kubelet.ended >= ended + 2 * SLOTS, lambda: stage.kubelet.ended, 1)
    leader.kill()
    killed, ended = time.time(), stage.kubelet.ended
    await asyncio.sleep(1)
    mark = stage.mark()
    await until(lambda: bool(_creates(stage, mark)), stage.mark, 1)
    first = min(_creates(stage, mark))
    await pause(stage, namespace)
    return first - killed


def _creates(stage: Stage, mark: int) -> list[float]:
    """When Jobs were asked for since a mark."""
    return [r.received for r in stage.read(mark) if r.resource == "jobs.batch" and r.verb == "create"]
