"""Electing one leader on the real API server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from klipstream_kube import CONFIG_MAPS, LEASES, LeaseElector, LeaseLost

LEASE_SECONDS = 12.0


@pytest.fixture
def elector(client, namespace) -> Callable[[str], LeaseElector]:
    def candidate(identity: str) -> LeaseElector:
        return LeaseElector(
            client,
            name="leader",
            namespace=namespace,
            identity=identity,
            lease_seconds=LEASE_SECONDS,
            renew_seconds=0.5,
            retry_seconds=0.2,
            log=logging.getLogger("lease"),
        )

    return candidate


async def test_a_frozen_leader_is_succeeded_and_may_not_write_any_more(client, namespace, elector) -> None:
    first, second = elector("first"), elector("second")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(LEASE_SECONDS + 1)  # longer than the lease: it lives by its renewals
    first.check()
    assert not waiting.done()
    holding.cancel()  # frozen: neither renews nor knows of it
    await asyncio.gather(holding, return_exceptions=True)
    await waiting
    assert first.deadline() < time.monotonic()
    assert second.transitions > first.transitions
    second.check()
    manifest = {"metadata": {"name": "written"}}
    with pytest.raises(LeaseLost):
        await client.create(CONFIG_MAPS, manifest, namespace, before_send=first.check)
    await client.create(CONFIG_MAPS, manifest, namespace, before_send=second.check)
    with pytest.raises(LeaseLost):
        await first.hold()


async def test_a_released_lease_is_taken_without_waiting_for_its_end(client, namespace, elector) -> None:
    first, second = elector("first"), elector("second")
    await first.acquire()
    until = first.deadline()
    await first.release()
    lease = await client.get(LEASES, "leader", namespace)
    assert not lease["spec"].get("holderIdentity")
    await second.acquire()
    assert second.deadline() - LEASE_SECONDS < until
    assert second.transitions == first.transitions + 1


async def test_a_lease_given_to_another_by_hand_is_lost(client, namespace, elector) -> None:
    first = elector("first")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    await client.patch(LEASES, "leader", namespace, {"spec": {"holderIdentity": "other"}})
    with pytest.raises(LeaseLost, match="taken by other"):
        await holding


async def test_there_is_never_more_than_one_leader(elector) -> None:
    terms: list[tuple[float, float, int]] = []
    enough = asyncio.Event()

    async def candidate(name: str) -> None:
        while not enough.is_set():
            own = elector(name)
            await own.acquire()
            begun = time.monotonic()
            await asyncio.sleep(0.05)
            own.check()
            terms.append((begun, time.monotonic(), own.transitions))
            if len(terms) >= 15:
                enough.set()
            await own.release()

    tasks = [asyncio.create_task(candidate(f"candidate-{n}")) for n in range(4)]
    async with asyncio.timeout(60):
        await enough.wait()
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    terms.sort()
    for (_, ended, transition), (begun, _, next_transition) in pairwise(terms):
        assert ended <= begun
        assert transition < next_transition
