"""Webhooks under faults: dead, slow and flapping endpoints, and a relay that is killed again and again."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from klipbench.figures import quantile
from klipcluster import Running
from klipstream_kube import Client, load_connection
from klipwebhook.certificate import make_certificate
from klipwebhook.fault_run import Findings, Life, judge, latencies, load
from klipwebhook.stage import Receivers, Relay, Stage

JOBS, KILLS = int(os.environ.get("WEBHOOK_JOBS", "2000")), 10
HEALTHY, DEAD, SLOW, FLAPPING = 30, 10, 5, 5
SEGMENT_JOBS, SEGMENTS = 150, 2
PER_SECOND = 20.0
MAX_RATIO = 1.5

GOOD = [f"good-{n}" for n in range(HEALTHY)]
BAD = {f"dead-{n}": "dead" for n in range(DEAD)} | {f"slow-{n}": "slow:2" for n in range(SLOW)}
BAD |= {f"flapping-{n}": "flapping:3" for n in range(FLAPPING)}
TWINS = [f"twin-{n}" for n in range(len(BAD))]
"""Healthy ones in place of the others, for the comparison: the load is the same."""


@pytest.fixture
async def stage(control_plane: Running, custom_resources: None, namespace: str, tmp_path: Path) -> AsyncIterator[Stage]:
    certificate = make_certificate(tmp_path)
    behaviours = dict.fromkeys([*GOOD, *TWINS], "ok") | BAD
    receivers = Receivers(tmp_path, certificate, **behaviours)
    relay = Relay(
        control_plane.kubeconfig, tmp_path, namespace,
        KLIPSTREAM_CA_FILE=str(certificate), KLIPSTREAM_TIMEOUT_SECONDS="10", KLIPSTREAM_RETRY_SECONDS="1",
        KLIPSTREAM_CIRCUIT_SECONDS="1", KLIPSTREAM_CIRCUIT_AT_MOST_SECONDS="4", KLIPSTREAM_LEASE_SECONDS="15",
    )  # fmt: skip
    async with Client(load_connection(str(control_plane.kubeconfig)), max_connections=40) as client:
        keeping = asyncio.create_task(_keep_running(relay))
        try:
            receivers.listen()
            yield Stage(client, namespace, relay, receivers)
        finally:
            keeping.cancel()
            relay.kill()
            receivers.process.kill()


@pytest.mark.sweep
@pytest.mark.timeout(1800)
async def test_webhooks_survive_dead_endpoints_and_ten_kills(
    stage: Stage, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    await stage.until(lambda: stage.relay.ready, "the relay is ready")
    # 1. The same load with and without endpoints that are dead, slow or flapping, in turns.
    seconds: dict[bool, list[float]] = {False: [], True: []}
    everything: list[Life] = []
    for segment in range(SEGMENTS * 2):
        with_bad = segment % 2 == 1
        others = list(BAD) if with_bad else TWINS
        lives = await load(stage, f"s{segment}", [*GOOD, *others], SEGMENT_JOBS, PER_SECOND, seed=segment)
        everything += lives
        await asyncio.sleep(2)
        seconds[with_bad] += latencies(lives, GOOD, stage.receivers.received(), stage.relay.ledger)
        print(f"segment {segment}: {len(lives)} jobs, {'with' if with_bad else 'without'} bad endpoints", flush=True)
    without, with_bad_ones = (quantile(seconds[which], 0.99) for which in (False, True))
    print(f"p99 {without:.3f} s without and {with_bad_ones:.3f} s with bad endpoints", flush=True)
    # 2. Two thousand jobs while the relay is killed ten times.
    killing = asyncio.create_task(_kill(stage))
    everything += await load(stage, "k", [*GOOD, *BAD], JOBS, PER_SECOND, seed=99)
    kills = await killing
    print(f"{JOBS} jobs ended, {kills} kills", flush=True)
    # 3. Whoever is well is told; the slow and the flapping after a redelivery at the latest; and the statuses say so.
    healthy = [life for life in everything if life.receiver.startswith(("good", "twin"))]
    reachable = [life for life in everything if not life.receiver.startswith("dead")]
    unreachable = [life for life in everything if life.receiver.startswith("dead")]
    well = await _until_told(stage, stage.receivers, healthy, seconds=120)
    stage.relay.command("redeliver", "--dead")
    found = await _until_told(stage, stage.receivers, reachable, seconds=120)
    turns = asyncio.Semaphore(10)

    async def is_announced(life: Life) -> None:
        async with turns:
            await stage.announced(life.job)

    await asyncio.gather(*(is_announced(life) for life in reachable))
    # 4. The dead come back: what was kept for them arrives, after a redelivery of what was given up.
    revived = Receivers.on_ports(tmp_path / "revived", stage.receivers, [name for name in BAD if "dead" in name])
    try:
        stage.relay.command("redeliver", "--dead")
        late = await _until_told(stage, revived, unreachable, seconds=120)
    finally:
        revived.process.kill()
    ratio = with_bad_ones / without
    figures(
        f"webhooks: {found.due + late.due} ends of {len(everything)} jobs due, {found.delivered + late.delivered}"
        f" delivered ({late.due} of them to endpoints that had been dead), {len(found.lost) + len(late.lost)} lost,"
        f" {found.ids + late.ids} with two ids, {found.again + late.again} taken twice, {found.wrong + late.wrong}"
        f" at a wrong endpoint, {well.disordered} jobs of healthy endpoints out of order, {kills} kills; p99 of healthy"
        f" deliveries {without * 1000:.0f} ms without and {with_bad_ones * 1000:.0f} ms with bad endpoints,"
        f" ratio {ratio:.2f}"
    )
    assert (well.lost, found.lost, late.lost) == ([], [], [])
    assert (found.ids, found.wrong, late.ids, late.wrong, well.disordered) == (0, 0, 0, 0, 0)
    assert kills == KILLS
    assert ratio < MAX_RATIO


async def _until_told(stage: Stage, receivers: Receivers, lives: list[Life], seconds: float) -> Findings:
    """Wait until every end has arrived, as long as that takes at most; what the receivers say then."""
    with contextlib.suppress(AssertionError):
        await stage.until(lambda: not judge(lives, receivers.ports, receivers.received()).lost, "all told", seconds)
    found = judge(lives, receivers.ports, receivers.received())
    print(f"{found.delivered} of {found.due} ends arrived", flush=True)
    return found


async def _keep_running(relay: Relay) -> None:
    """What the kubelet does."""
    while True:
        if not relay.running:
            relay.start()
        await asyncio.sleep(0.5)


async def _kill(stage: Stage) -> int:
    """Kill the relay, spread over the load, a while after it was ready again; how often."""
    chance = random.Random(7)
    for number in range(KILLS):
        await stage.until(lambda: stage.relay.ready, "it is ready again", seconds=600)
        await asyncio.sleep(chance.uniform(0.1, 2 * JOBS / PER_SECOND / (KILLS + 1)))
        stage.relay.kill()
        print(f"killed {number + 1} times", flush=True)
    await stage.until(lambda: stage.relay.ready, "the last one is ready")
    return KILLS
