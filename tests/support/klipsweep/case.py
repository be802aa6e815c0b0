"""One case: a run of the users' day in a namespace of its own, with at most one crash in it."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from klipfault.calls import Call
from klipfault.faults import Rule
from klipfault.proxy import FaultProxy, Moment, Then
from klipfault.record import Write
from klipjudge.audit import read_requests
from klipjudge.history import as_written
from klipjudge.judge import judge
from klipjudge.verdict import Terms
from klipstream_kube import LEASES, NAMESPACES, Client, NotFound
from klipsweep.audit_slice import cut_out
from klipsweep.nursery import Nursery
from klipsweep.replica import SWEEP_SECONDS, Replica
from klipsweep.users import ANALYSIS_JOBS, Users, insist
from klipsweep.workers import Workers

DEADLINE_SECONDS = 180.0
THAW_AFTER_SECONDS = 0.3
"""How long after its successor began to lead a frozen leader goes on."""
LEASE_NAME = "klipstream-operator"


class Crash(Enum):
    """What happens to the operator at the chosen write."""

    RESTART = "killed, and started again"
    FAILOVER = "killed, with a standby"
    FREEZE = "stopped beyond its Lease, with a standby, and continued"


@dataclass(frozen=True, slots=True)
class Case:
    """A crash at the `ordinal`th write of the leader; a run without any where that is 0."""

    ordinal: int = 0
    moment: Moment = Moment.BEFORE
    crash: Crash = Crash.RESTART

    def __str__(self) -> str:
        return f"write {self.ordinal} {self.moment.value}, {self.crash.value}" if self.ordinal else "golden run"


@dataclass(slots=True)
class Outcome:
    """How a case went."""

    case: Case
    at: str | None = None
    """The write at which the crash came; None where the run had no such write."""
    violations: list[str] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    """What the first leader wrote before its crash, in order."""
    faults: Counter[str] = field(default_factory=Counter)
    """What the first leader's proxy injected."""
    ended_by_themselves: int = 0
    """Processes that ended though nobody killed them, as one that lost its Lease does."""
    posts: int = 0
    seconds: float = 0.0
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What all cases share: one control plane, a fake kubelet that plays all pods, a nursery of operators."""

    client: Client
    kubeconfig: Path
    audit_log: Path
    nursery: Nursery
    folder: Path


def counts(call: Call) -> bool:
    """Which writes are crash points: all but the Lease's, which come as time goes by, and Events, which tell only."""
    return call.writes and call.resource not in ("leases.coordination.k8s.io", "events", "events.events.k8s.io")


async def run_case(
    stage: Stage,
    case: Case,
    *,
    rules: Sequence[Rule] = (),
    sweep_seconds: float = SWEEP_SECONDS,
    seen_seconds: float = 5.0,
) -> Outcome:
    """Run a case to its end and judge it. The rules are those of the first leader's proxy.

    `seen_seconds` is how long a user's patch may take to be known: a sweep, where watches swallow it.
    """
    namespace = f"case-{case.ordinal}-{uuid.uuid4().hex[:8]}"
    folder = stage.folder / namespace
    folder.mkdir(parents=True)
    outcome = Outcome(case, folder=folder)
    started = time.monotonic()
    log_begins = stage.audit_log.stat().st_size
    await make_namespace(stage.client, namespace)
    users = Users(stage.client, namespace)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await _play(_Scene(stage, case, namespace, folder, rules, sweep_seconds), users, outcome)
    except TimeoutError:
        missing = "; ".join(users.missing()) or "a process of the run"
        outcome.violations.append(f"not over after {DEADLINE_SECONDS:.0f} s: {missing}")
    jobs, _ = await stage.client.list(ANALYSIS_JOBS, namespace)
    await asyncio.sleep(1)  # an answer may come before its line in the log
    requests = read_requests(cut_out(stage.audit_log, log_begins, namespace, folder / "audit.log"))
    verdict = judge(requests + as_written(ANALYSIS_JOBS.qualified_name, jobs), Terms(seen_seconds=seen_seconds))
    outcome.violations += [f"{each.rule} at {each.revision}: {each.message}" for each in verdict.violations]
    outcome.seconds = time.monotonic() - started
    return outcome


@dataclass(frozen=True, slots=True)
class _Scene:
    stage: Stage
    case: Case
    namespace: str
    folder: Path
    rules: Sequence[Rule]
    sweep_seconds: float


async def _play(scene: _Scene, users: Users, outcome: Outcome) -> None:
    stage, case, namespace = scene.stage, scene.case, scene.namespace
    async with AsyncExitStack() as stack:
        names = ["first"] if case.crash is Crash.RESTART else ["first", "second"]
        replicas = [
            Replica(name, stage.nursery, await stack.enter_async_context(FaultProxy(stage.kubeconfig, counts=counts)),
                    namespace, scene.folder, scene.sweep_seconds)
            for name in names
        ]  # fmt: skip
        leader = replicas[0]
        for replica in replicas:
            stack.push_async_callback(replica.kill)
        leader.proxy.rules += scene.rules
        outcome.writes, outcome.faults = leader.proxy.record.writes, leader.proxy.record.faults
        if case.ordinal:
            leader.proxy.interrupt(case.ordinal, case.moment, _crash(stage, case, namespace, replicas, outcome))
        workers = Workers(stage.client, namespace, lambda: [replica.progress_port for replica in replicas])
        working = asyncio.create_task(workers.run())
        stack.callback(working.cancel)
        await leader.start()
        if len(replicas) > 1:
            await _until_leads(stage.client, namespace, leader)
            await replicas[1].start()
        try:
            await users.run()
        except asyncio.CancelledError:
            for replica in replicas:
                replica.explain()
            await asyncio.sleep(0.5)
            raise
        outcome.posts = workers.taken
        outcome.ended_by_themselves = sum(replica.ended_by_itself for replica in replicas)


def _crash(
    stage: Stage, case: Case, namespace: str, replicas: list[Replica], outcome: Outcome
) -> Callable[[Write], Awaitable[Then]]:
    leader = replicas[0]

    async def kill(write: Write) -> Then:
        outcome.at = write.call.kind_of
        await leader.kill()
        await leader.start()
        return Then.DROP

    async def freeze(write: Write) -> Then:
        """What it sent arrives after its successor began to lead, and it goes on when that has happened."""
        outcome.at = write.call.kind_of
        leader.freeze()
        await _until_leads(stage.client, namespace, replicas[1])
        await asyncio.sleep(THAW_AFTER_SECONDS)
        asyncio.get_running_loop().call_later(THAW_AFTER_SECONDS, leader.thaw)
        return Then.GO_ON

    return freeze if case.crash is Crash.FREEZE else kill


async def _until_leads(client: Client, namespace: str, replica: Replica) -> None:
    while await _holder(client, namespace) != replica.identity:
        await asyncio.sleep(0.2)


async def _holder(client: Client, namespace: str) -> str | None:
    try:
        lease = await client.get(LEASES, LEASE_NAME, namespace)
    except NotFound:
        return None
    return (lease.get("spec") or {}).get("holderIdentity")


async def make_namespace(client: Client, name: str) -> None:
    """Create a namespace. It is left: removing one costs the control plane more than half a case does."""
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # Pods are refused until its account is there, and the Job controller then waits longer and longer.
    path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    while await insist(lambda: client.request("GET", path)) is None:
        await asyncio.sleep(0.05)
