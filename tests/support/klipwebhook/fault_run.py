"""The load of the fault run: jobs that live and end in many ways, each telling an endpoint of its own choice."""

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from klipwebhook.stage import Received, Stage
from klipwebhook.statuses import PlayedJob

ENDS = ("Succeeded", "Succeeded", "Succeeded", "Failed", "Cancelled")
AT_ONCE = 24


@dataclass(slots=True)
class Life:
    """A job, whom it tells, and the ends that it had."""

    job: PlayedJob
    receiver: str
    ends: list[str] = field(default_factory=list)
    """Types of its final events, in order."""


async def live(life: Life, url: str, chance: random.Random) -> None:
    """One life: accepted, perhaps cancelled while it waits, perhaps tried again, perhaps failed and replayed."""
    job = life.job
    await job.submit(callback={"url": url})
    if chance.random() < 0.05:
        await job.accept()
        await _end(life, "Cancelled")
        return
    at_once = chance.random() < 0.5
    if not at_once:
        await job.accept()
    await job.start(also_accepted=at_once)
    if chance.random() < 0.4:
        await job.progress(10, "Downloading")
    if chance.random() < 0.15:
        await job.retry()
        await job.start()
    end = chance.choice(ENDS)
    await _end(life, end)
    if end == "Failed" and chance.random() < 0.3:
        await job.replay(1)
        await job.start()
        await _end(life, "Succeeded")


async def _end(life: Life, phase: str) -> None:
    await life.job.finish(phase)
    life.ends.append(f"job.{phase.lower()}")


async def load(
    stage: Stage, name: str, receivers: Sequence[str], jobs: int, per_second: float, seed: int
) -> list[Life]:
    """Submit jobs at a steady rate and play their lives; receivers take turns."""
    lives = [Life(stage.job(f"{name}-{n}"), receivers[n % len(receivers)]) for n in range(jobs)]
    turns = asyncio.Semaphore(AT_ONCE)
    began = time.monotonic()

    async def one(number: int, life: Life) -> None:
        async with turns:
            await live(life, stage.receivers.url(life.receiver), random.Random(f"{seed}-{number}"))

    async with asyncio.TaskGroup() as tasks:
        for number, life in enumerate(lives):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            tasks.create_task(one(number, life))
    return lives


@dataclass(frozen=True, slots=True)
class Findings:
    """What the receivers say of the ends that were due to them."""

    due: int
    delivered: int
    lost: list[str]
    """Ends that never came."""
    ids: int
    """Ends that came with more than one id."""
    again: int
    """Ends that were taken more than once, with the same id."""
    wrong: int
    """Webhooks that came to an endpoint that is none of the job's."""
    disordered: int
    """Jobs whose webhooks first came in another order than that of their sequence."""


def judge(lives: Sequence[Life], ports: dict[str, int], received: Sequence[Received]) -> Findings:
    """Compare what was due with what came. Only what was answered with success has arrived."""
    by_job: dict[str, list[Received]] = {}
    for each in received:
        by_job.setdefault(str(each.body["job_id"]), []).append(each)
    lost: list[str] = []
    due = delivered = ids = again = wrong = disordered = 0
    for life in lives:
        came = by_job.get(life.job.uid, [])
        wrong += sum(each.port != ports[life.receiver] for each in came)
        taken = [each for each in came if each.code < 300]
        for end in life.ends:
            due += 1
            found = [each for each in taken if each.type == end]
            delivered += bool(found)
            if not found:
                lost.append(f"{life.job.name} {end} at {life.receiver}")
            distinct = {each.id for each in came if each.type == end}
            ids += len(distinct) > life.ends.count(end)
            again += len(found) > len({each.id for each in found})
        first: dict[str, int] = {}
        for each in taken:
            first.setdefault(each.id, int(each.body["sequence"]))
        disordered += list(first.values()) != sorted(first.values())
    return Findings(due, delivered, lost, ids, again, wrong, disordered)


def latencies(
    lives: Sequence[Life], receivers: Sequence[str], received: Sequence[Received], ledger: Path
) -> list[float]:
    """Seconds from the ledger to the receiver, of every webhook of these lives that came to one of these receivers.

    What the API server and whoever writes the statuses need is no part of it: they share the machine.
    """
    wanted = {life.job.uid for life in lives if life.receiver in receivers}
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        created = dict(file.execute("SELECT id, created FROM deliveries"))
    arrived: dict[str, float] = {}
    for each in received:
        if each.body["job_id"] in wanted and each.code < 300:
            arrived.setdefault(each.id, each.came)
    return [came - created[id_] for id_, came in arrived.items() if id_ in created]
