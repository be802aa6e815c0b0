"""Finished jobs are purged when their time is over: by the operator as a process, and step by step within this one."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipfake.world import World, job
from klipjudge.audit import read_requests
from klipjudge.history import Request
from klipstream_api import AnalysisQueue
from klipstream_kube import Client, NotFound, load_connection
from klipstream_operator.log_store import LogStore
from klipstream_operator.purger import PURGES_PER_SECOND, Purger
from klipstream_operator.status_writer import ANALYSIS_JOBS, StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.turnstile import Turnstile

HOUR = 3600
CALLBACK = {"url": "https://example.com/hook"}


def retention(world: World, **seconds: int) -> None:
    world.kubectl("patch", "aq", "default", "--type=merge", "-p", json.dumps({"spec": {"retention": seconds}}))


def write_status(world: World, name: str, **status: Any) -> None:
    body = json.dumps({"status": status})
    world.kubectl("patch", "aj", name, "--subresource=status", "--type=merge", "-p", body)


def ago(**delta: float) -> str:
    return (datetime.now(UTC) - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def finished_jobs(world: World, *jobs: dict[str, Any]) -> None:
    """Jobs that their queue accepted and that were cancelled before they ran."""
    world.queue(mode="Paused", retention={"succeededSeconds": HOUR})
    world.apply(*jobs)
    world.until(lambda: all(each["status"].get("sequence") for each in world.items("aj")), "all accepted")
    world.apply(*(each | {"spec": each["spec"] | {"cancel": True}} for each in jobs))
    world.until(lambda: set(world.phases().values()) == {"Cancelled"}, "all cancelled")


def purges(control_plane: Any, world: World) -> list[Request]:
    requests = read_requests(control_plane.audit_log)
    return [each for each in requests if each.kind_of == f"delete {ANALYSIS_JOBS.qualified_name}"
            and each.namespace == world.namespace and each.agent.startswith("klipstream-operator ")]  # fmt: skip


def test_a_finished_job_goes_with_its_jobs_and_pods_when_due_and_the_totals_stay(world: World) -> None:
    world.queue(maxRetries=0, retention={"succeededSeconds": 10, "failedSeconds": HOUR})
    world.job("good")
    world.job("bad", params={"fake_exits": "1"})
    world.until_phase("good", "Succeeded")
    finished = datetime.fromisoformat(world.get("aj", "good")["status"]["finishedAt"])
    world.until(lambda: "good" not in world.phases(), "the good one is purged")
    assert datetime.now(UTC) - finished >= timedelta(seconds=10)
    world.until_phase("bad", "Failed")
    uid = world.get("aj", "bad")["metadata"]["uid"]

    def owners(kind: str) -> set[str]:
        return {item["metadata"]["labels"]["analysis.klipstream.io/job-uid"] for item in world.items(kind)}

    world.until(lambda: owners("jobs") == owners("pods") == {uid}, "what it owned is gone")
    assert world.get("aq", "default")["status"]["totals"]["succeeded"] == 1
    retention(world, failedSeconds=0)
    world.until(lambda: world.phases() == {}, "a shorter retention counts for what is finished already")
    world.until(lambda: world.get("aq", "default")["status"]["deadLettered"] == 0, "no dead letter is left")


def test_many_due_jobs_are_purged_at_a_bounded_rate(world: World, control_plane) -> None:
    finished_jobs(world, *(job(f"job-{n}") for n in range(20)))
    retention(world, succeededSeconds=0)
    world.until(lambda: world.phases() == {}, "all are purged")
    times = [each.received for each in purges(control_plane, world)]
    assert len(times) == 20, "each by one request"
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert (times[-1] - times[0]) / len(gaps) >= 0.95 / PURGES_PER_SECOND
    assert min(gaps) >= 0.5 / PURGES_PER_SECOND, "no burst either"


def test_a_killed_operator_s_purge_is_finished_by_its_successor(world: World, control_plane) -> None:
    world.queue("other", mode="Paused", retention={"succeededSeconds": HOUR})
    finished_jobs(world, *(job(f"job-{n}", queueName="default") for n in range(40)), job("young", queueName="other"))
    retention(world, succeededSeconds=0)
    world.until(lambda: len(world.phases()) < 40, "some are purged")
    world.operator.kill()
    assert len(world.phases()) > 1, "killed too late for this test"
    world.operator.start()
    world.until(lambda: set(world.phases()) == {"young"}, "the others are purged")
    time.sleep(1)
    assert set(world.phases()) == {"young"}


def test_who_is_to_be_told_holds_the_purge_back_for_a_day_at_most(world: World) -> None:
    finished_jobs(world, job("nobody"), *(job(name, callback=CALLBACK) for name in ("silent", "told", "too-long")))
    write_status(world, "silent", finishedAt=ago(hours=24, minutes=50))
    write_status(world, "told", finishedAt=ago(hours=2))
    write_status(world, "too-long", finishedAt=ago(hours=25, minutes=1))
    write_status(world, "nobody", finishedAt=ago(hours=2))
    world.until(lambda: set(world.phases()) == {"silent", "told"}, "one is due, for another the day is over")
    write_status(world, "told", announcedAt=ago())
    world.until(lambda: set(world.phases()) == {"silent"}, "it was announced")
    time.sleep(1)
    assert set(world.phases()) == {"silent"}


def test_the_defaults_hold_for_jobs_of_a_deleted_queue(world: World) -> None:
    finished_jobs(world, job("week"), job("day"))
    world.kubectl("delete", "aq", "default")
    write_status(world, "day", finishedAt=ago(days=1))
    write_status(world, "week", finishedAt=ago(days=7, minutes=1))
    world.until(lambda: set(world.phases()) == {"day"}, "a week is over")


# --- the purger itself, which sees only what the test shows it --------------------------------------------------


@dataclass
class Scene:
    """A purger with a store that no watch feeds, and one failed job that is due."""

    client: Client
    namespace: str
    store: Store
    purger: Purger
    uid: str = ""

    async def exists(self) -> bool:
        try:
            await self.client.get(ANALYSIS_JOBS, "bad", self.namespace)
        except NotFound:
            return False
        return True

    async def change(self, body: dict[str, Any], subresource: str | None = None) -> dict[str, Any]:
        return await self.client.patch(ANALYSIS_JOBS, "bad", self.namespace, body, subresource=subresource)

    def hold_slot(self, *attempts: int) -> None:
        admitted = [{"uid": self.uid, "attempt": attempt, "name": "bad"} for attempt in attempts]
        version = str(time.time_ns())
        queue = AnalysisQueue.from_wire({
            "metadata": {"name": "q", "namespace": self.namespace, "uid": "q", "resourceVersion": version},
            "spec": {"workerTemplate": {"spec": {}}, "retention": {"failedSeconds": 0}},
            "status": {"admitted": admitted},
        })  # fmt: skip
        self.store.put_queue(queue, self.client.now())

    async def gone(self) -> None:
        """Wait until it is purged."""
        async with asyncio.timeout(60):
            while await self.exists():
                await asyncio.sleep(0.05)

    async def settled(self) -> None:
        """Long enough for what is due to be purged."""
        await asyncio.sleep(1.0)


@pytest.fixture
async def scene(control_plane, custom_resources: None, namespace: str) -> AsyncIterator[Scene]:
    async with Client(load_connection(str(control_plane.kubeconfig))) as client:
        store = Store(lambda _: None, lambda _: None, lambda: None)
        writer = StatusWriter(client, store, lambda: None, Turnstile())
        purger = Purger(client, store, writer, LogStore(), archiving=True)
        store.on_job, store.on_queue = purger.look, purger.look_at_queue
        scene = Scene(client, namespace, store, purger)
        created = await client.create(
            ANALYSIS_JOBS,
            {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob"} | job("bad"),
            namespace,
        )
        scene.uid = created["metadata"]["uid"]
        scene.hold_slot()
        failed = {"phase": "Failed", "queueName": "q", "finishedAt": ago(minutes=1), "attempt": 1, "sequence": 1}
        writer.take(await scene.change({"status": failed}, "status"))
        yield scene


@contextlib.asynccontextmanager
async def running(purger: Purger) -> AsyncIterator[None]:
    task = asyncio.create_task(purger.run())
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_a_due_job_is_purged(scene: Scene) -> None:
    async with running(scene.purger):
        await scene.gone()


async def test_a_job_that_is_replayed_between_decision_and_deletion_stays(scene: Scene) -> None:
    await scene.change({"spec": {"replay": 1}})
    async with running(scene.purger), asyncio.timeout(60):
        while scene.store.jobs[scene.uid].spec.replay != 1:  # it is read live, and decided again
            await asyncio.sleep(0.05)
        await scene.settled()
    assert await scene.exists()


async def test_a_job_that_changed_otherwise_is_purged_by_a_second_decision(scene: Scene) -> None:
    await scene.change({"metadata": {"labels": {"look": "again"}}})
    async with running(scene.purger):
        await scene.gone()


async def test_another_job_of_the_name_is_left_alone(scene: Scene) -> None:
    await scene.client.delete(ANALYSIS_JOBS, "bad", scene.namespace)
    again = {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob"} | job("bad")
    await scene.client.create(ANALYSIS_JOBS, again, scene.namespace)
    async with running(scene.purger), asyncio.timeout(60):
        while scene.uid in scene.store.jobs:
            await asyncio.sleep(0.05)
        await scene.settled()
    assert await scene.exists()


async def test_a_job_whose_slot_is_still_held_stays_until_it_is_released(scene: Scene) -> None:
    scene.hold_slot(1)
    async with running(scene.purger):
        await scene.settled()
        assert await scene.exists()
        scene.hold_slot()
        await scene.gone()


async def test_nothing_is_deleted_without_the_lease(scene: Scene) -> None:
    def over() -> None:
        raise RuntimeError("the Lease is over")

    scene.purger.writer.fence = over
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(scene.purger.run(), 5)
    assert await scene.exists()
