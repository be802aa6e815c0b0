"""Operators that share the queues: who takes what, whom workers reach, and what a change of their number does."""

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from klipfake.ports import free_port
from klipfake.processes import Operator
from klipfake.replicas import Replicas, replicas, without_operator
from klipfake.worker import Worker
from klipfake.world import job
from klipstream_kube import LEASES, Client, LeaseElector, load_connection
from klipstream_operator.layouts import Layouts
from klipstream_operator.sharding import Shard

BASE = "klipstream-operator"
log = logging.getLogger("test")
MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@pytest.fixture
def group(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[Replicas]:
    """A namespace with a fake kubelet, and operators by name."""
    with (
        without_operator(kubectl, namespace, control_plane, tmp_path) as world,
        replicas(world, control_plane, tmp_path) as found,
    ):
        yield found


def named(namespace: str, shard: Shard, prefix: str = "queue") -> str:
    """A name for a queue of that shard."""
    return next(name for n in range(100) if shard.covers((namespace, name := f"{prefix}-{n}")))


def start(group: Replicas, name: str, shard: Shard, **settings: str) -> Operator:
    """Start a replica of a shard; those of several share a port, each at an address of its own."""
    divided = {
        "KLIPSTREAM_SHARD": str(shard.number),
        "KLIPSTREAM_SHARDS": str(shard.of),
        "KLIPSTREAM_SHARD_URL": "http://127.0.7.{shard}:" + group.settings.get("KLIPSTREAM_PROGRESS_PORT", "0")
        + "/v1/progress",
    }  # fmt: skip
    operator = group.start(name, **divided, **settings)
    assert operator.running, operator.said()[-3000:]
    group.world.operator = operator
    return operator


def senders(group: Replicas, queue: str) -> set[str]:
    """Who wrote for a queue: its reservations, and the Jobs of its attempts."""
    about = set()
    for write in group.writes():
        metadata = write.answer.get("metadata", {})
        label = (metadata.get("labels") or {}).get("analysis.klipstream.io/queue")
        if (write.resource == "analysisqueues" and write.name == queue) or (
            write.resource == "jobs" and label == queue
        ):
            about.add(write.sender)
    return about


def accepted_by(group: Replicas, name: str) -> str:
    """Who wrote that a job was accepted."""
    return next(
        write.sender
        for write in group.writes()
        if (write.resource, write.name) == ("analysisjobs", name) and write.answer.get("status", {}).get("queueName")
    )


# --- who takes what ----------------------------------------------------------------------------------------------


def test_each_queue_is_served_by_its_shard_and_by_no_other(group: Replicas) -> None:
    world, shards = group.world, [Shard(0, 2), Shard(1, 2)]
    queues = [named(world.namespace, shard) for shard in shards]
    for shard in shards:
        start(group, f"shard-{shard.number}", shard)
    for name in queues:
        world.queue(name, maxConcurrentJobs=2, accepts={"types": [name]})
    world.apply(*(job(f"named-{n}-{i}", queueName=name) for n, name in enumerate(queues) for i in range(4)))
    world.apply(*(job(f"routed-{n}-{i}", type=name) for n, name in enumerate(queues) for i in range(4)))
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    assert [senders(group, name) for name in queues] == [{"shard-0"}, {"shard-1"}]
    for each in world.items("aj"):
        number = int(each["metadata"]["name"].split("-")[1])
        assert each["status"]["queueName"] == queues[number]
        assert each["status"]["attempt"] == 1
    holders = {each["metadata"]["name"]: each["spec"]["holderIdentity"] for each in world.items("leases")}
    assert holders == {f"{BASE}-0-of-2": "shard-0", f"{BASE}-1-of-2": "shard-1"}


def test_a_job_that_no_queue_takes_waits_and_goes_to_the_queue_that_comes(group: Replicas) -> None:
    """One shard says that there is none; whichever it is of, the queue's own shard takes the job."""
    world, shards = group.world, [Shard(0, 2), Shard(1, 2)]
    for shard in shards:
        start(group, f"shard-{shard.number}", shard)
    for shard in shards:
        name, waiting = named(world.namespace, shard, "late"), f"waits-for-{shard.number}"
        world.job(waiting, type=name)
        world.until(lambda of=waiting: world.condition("aj", of, "CapacityAvailable").get("reason") == "NoQueueFits",
                    "it is said that there is no queue")  # fmt: skip
        world.queue(name, accepts={"types": [name]})
        world.until_phase(waiting, "Succeeded")
        assert accepted_by(group, waiting) == f"shard-{shard.number}"


def test_a_shard_that_dies_holds_nobody_else_up_and_its_standby_takes_over(group: Replicas) -> None:
    world, shards = group.world, [Shard(0, 2), Shard(1, 2)]
    queues = [named(world.namespace, shard) for shard in shards]
    for shard in shards:
        start(group, f"shard-{shard.number}", shard)
    start(group, "standby-1", shards[1])
    for name in queues:
        world.queue(name, maxConcurrentJobs=1)
    group.operators["shard-1"].kill()
    world.apply(*(job(f"job-{n}-{i}", queueName=name) for n, name in enumerate(queues) for i in range(3)))
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    assert senders(group, queues[0]) == {"shard-0"}
    assert "standby-1" in senders(group, queues[1])


# --- whom workers reach ------------------------------------------------------------------------------------------


def test_a_post_that_reaches_another_shard_is_sent_on(group: Replicas) -> None:
    """Workers of all shards post to one address."""
    world, shards = group.world, [Shard(0, 2), Shard(1, 2)]
    group.settings = {"KLIPSTREAM_PROGRESS_PORT": str(free_port())}
    queues = [named(world.namespace, shard) for shard in shards]
    operators = [
        start(group, f"shard-{shard.number}", shard, KLIPSTREAM_PROGRESS_HOST=f"127.0.7.{shard.number}")
        for shard in shards
    ]
    for number, name in enumerate(queues):
        world.queue(name, retryDelaysSeconds=[0])
        world.job(f"film-{number}", queueName=name, params={"fake_seconds": "60"})
        world.until_phase(f"film-{number}", "Starting", "Running")
    world.until(lambda: len(world.items("pods")) == len(queues), "each has its pod")
    pods = {pod["metadata"]["labels"]["analysis.klipstream.io/queue"]: pod["metadata"]["name"]
            for pod in world.items("pods")}  # fmt: skip
    for number, name in enumerate(queues):
        worker, other = Worker(world, pods[name]), operators[1 - number]
        for percentage in (10, 20):
            posted(worker, other, percentage, checkpoint=f"c{percentage}-{number}")
        shown = world.get("aj", f"film-{number}")["status"]["progress"]
        assert (shown["percentage"], shown["checkpoint"]) == (20, f"c20-{number}")
    worker = Worker(world, pods[queues[1]])
    operators[1].kill()
    answer = worker.post(30, to=operators[0])
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
    assert "Shard 1" in answer.json()["detail"]


def posted(worker: Worker, to: Operator, percentage: float, **more: Any) -> None:
    """Post until it is taken, as workers do."""
    deadline = time.monotonic() + 60
    while (answer := worker.post(percentage, to=to, **more)).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


# --- another number of shards ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["told to end", "killed"])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_new_shards_wait_for_those_of_another_number(group: Replicas, before: int, after: int, end: str) -> None:
    """As in an upgrade: the old leaders go on until they end, then the new ones do, and nothing runs twice."""
    world = group.world
    queues = [named(world.namespace, Shard(number, 2)) for number in range(2)]
    old = [f"old-{number}" for number in range(before)]
    for number, name in enumerate(old):
        start(group, name, Shard(number, before))
    for name in queues:
        world.queue(name, maxConcurrentJobs=2, maxQueueSize=100)
    world.apply(*(job(f"job-{n}-{i}", queueName=name, params={"fake_seconds": "1"})
                  for n, name in enumerate(queues) for i in range(12)))  # fmt: skip
    world.until(lambda: "Succeeded" in world.phases().values(), "some have ended")
    new = [start(group, f"new-{number}", Shard(number, after)) for number in range(after)]
    for operator in new:
        world.until(lambda each=operator: "are still led: " in each.said(), "the new ones wait")
    assert {write.sender for write in group.writes() if write.resource != "leases"} <= {*old, "first"}
    for name in old:
        group.operators[name].kill() if end == "killed" else group.operators[name].stop()
    world.apply(*(job(f"late-{n}", queueName=name) for n, name in enumerate(queues)))
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    assert [senders(group, name) & {f"new-{n}" for n in range(after)} for name in queues] == [
        {f"new-{number % after}"} for number in range(2)
    ]
    assert {each["status"]["attempt"] for each in world.items("aj")} == {1}
    owners = [each["metadata"]["ownerReferences"][0]["uid"] for each in world.items("jobs")]
    assert len(owners) == len(set(owners)) == 26


async def test_a_lease_counts_as_held_by_the_rule_of_those_who_want_it(control_plane, namespace: str) -> None:
    """Unchanged for as long as it lasts, by a clock of one's own; what was not renewed for long is nobody's at once."""
    seconds = 1000.0
    async with Client(load_connection(str(control_plane.kubeconfig))) as client:
        layouts = Layouts(client, namespace, BASE, Shard(0, 2), lambda: seconds)

        async def has(name: str, holder: str | None, ago: float = 0.0) -> None:
            renewed = client.now() - timedelta(seconds=ago)
            spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": f"{renewed:{MICRO_TIME}}"}
            await client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, namespace)

        await has(BASE, "a")
        await has(f"{BASE}-0-of-2", "of the same layout")
        await has(f"{BASE}-0-of-3", None)
        await has(f"{BASE}-1-of-3", "long dead", ago=3600)
        await has(f"{BASE}-relay", "another program")
        await has(f"x{BASE}", "another release")
        assert await layouts.held() == [f"{BASE} by a"]
        seconds += 14
        await client.patch(LEASES, BASE, namespace, {"spec": {"holderIdentity": "b"}})
        assert await layouts.held() == [f"{BASE} by b"]
        seconds += 14
        assert await layouts.held() == [f"{BASE} by b"], "it was written meanwhile"
        seconds += 2
        assert await layouts.held() == []
        elector = LeaseElector(client, name=f"{BASE}-1-of-2", namespace=namespace, identity="us", log=log)
        async with asyncio.timeout(60):
            await layouts.acquire(elector)
        await elector.release()


async def test_two_candidates_of_different_numbers_do_not_wait_for_each_other(control_plane, namespace: str) -> None:
    """One of them leads, whoever it is, and the other holds no Lease while it waits."""
    async with Client(load_connection(str(control_plane.kubeconfig))) as client:
        electors = {}
        for shard in (Shard(0, 1), Shard(0, 2)):
            electors[shard] = LeaseElector(client, name=shard.lease_name(BASE), namespace=namespace,
                                           identity=f"of {shard.of}", retry_seconds=0.2, log=log)  # fmt: skip
        for _ in range(5):
            trying = {
                asyncio.create_task(Layouts(client, namespace, BASE, shard).acquire(elector)): shard
                for shard, elector in electors.items()
            }
            won, lost = await asyncio.wait(trying, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert len(won) == 1
            winner = trying[won.pop()].lease_name(BASE)
            async with asyncio.timeout(60):
                while await holding(client, namespace) != {winner}:
                    await asyncio.sleep(0.05)
            for task in lost:
                task.cancel()
                await asyncio.wait({task})
            for elector in electors.values():
                await elector.release()


async def holding(client: Client, namespace: str) -> set[str]:
    """The Leases that somebody holds."""
    leases, _ = await client.list(LEASES, namespace)
    return {each["metadata"]["name"] for each in leases if each["spec"].get("holderIdentity")}
