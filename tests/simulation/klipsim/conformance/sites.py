"""Where a case runs: in a simulated cluster, or in a real one."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from klipsim.apiserver import ApiServer
from klipsim.clocks import EPOCH, simulated_clocks
from klipsim.conformance.bodies import NODE
from klipsim.faults import Injector
from klipsim.job_controller import Collectors, JobController
from klipsim.loop import Process, SimulatedLoop
from klipsim.network import Network, SimulatedClient
from klipsim.replica import Replica
from klipstream_kube import Client, NotFound, Resource
from klipstream_operator.settings import Settings

Case = Callable[[Client, str], Awaitable[list[str]]]
Outcome = TypeVar("Outcome")
PATIENCE_SECONDS = 300.0
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")


def simulated(
    use: Callable[[Client, ApiServer], Awaitable[Outcome]], *, seed: int = 1, controllers: bool = False
) -> Outcome:
    """Carry something out in a new simulated cluster without faults; with Kubernetes' controllers where they matter."""
    random.seed(f"run {seed}")
    with simulated_clocks():
        loop = SimulatedLoop()
        server = ApiServer(random.Random(f"server {seed}"), lambda: EPOCH + loop.time())
        network = Network(loop, server, Injector([], loop.time, random.Random(seed)), random.Random(f"network {seed}"))
        if controllers:
            JobController(loop, server, random.Random(f"jobs {seed}"))
            Collectors(loop, server, random.Random(f"garbage {seed}"))
        settings = Settings.from_environment({"KLIPSTREAM_NAMESPACES": "simulated"})
        replica = Replica("client", network, settings, random.Random(seed), SimulatedClient, lambda _: [], [])

        async def carry_out() -> Outcome:
            return await use(SimulatedClient(network, replica, Process("client")), server)

        loop.call_later(PATIENCE_SECONDS + 1.0, lambda: None)  # the clock needs somewhere to go
        task = loop.create_task(carry_out(), context=contextvars.copy_context())
        loop.run_until(lambda: task.done() or loop.time() > PATIENCE_SECONDS)
        assert not loop.errors, loop.errors
        assert task.done(), f"the case did not end within {PATIENCE_SECONDS:.0f} simulated seconds"
        outcome: Outcome = task.result()
        return outcome


def in_simulation(case: Case, *, seed: int = 1, controllers: bool = False) -> list[str]:
    """The transcript of a case in a simulated cluster."""

    async def run(client: Client, _: ApiServer) -> list[str]:
        return await case(client, "simulated")

    return simulated(run, seed=seed, controllers=controllers)


async def make_namespace(client: Client, name: str) -> None:
    """A namespace of a real cluster that pods can be created in."""
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get(SERVICE_ACCOUNTS, "default", name)
                return
            except NotFound:
                await asyncio.sleep(0.05)


async def in_namespaces(client: Client, cases: dict[str, Case], prefix: str, at_once: int) -> dict[str, list[str]]:
    """Run cases in a real cluster, each in a namespace of its own, some of them at the same time."""
    turn = asyncio.Semaphore(at_once)

    async def run(number: int, case: Case) -> list[str]:
        namespace = f"{prefix}-{number}"
        async with turn:
            await make_namespace(client, namespace)
            try:
                return await case(client, namespace)
            finally:
                await client.delete(NAMESPACES, namespace)

    await client.create(NODES, {"metadata": {"name": NODE}})
    try:
        transcripts = await asyncio.gather(*(run(number, case) for number, case in enumerate(cases.values())))
    finally:
        await client.delete(NODES, NODE)
    return dict(zip(cases, transcripts, strict=True))
