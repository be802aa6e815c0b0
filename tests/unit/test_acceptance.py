"""The order in which submissions are accepted is the order in which they were created (found by simulation)."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, queue
from klipstream_api import AnalysisJob, AnalysisJobStatus, AnalysisQueue
from klipstream_kube import ApiError
from klipstream_operator import acceptance
from klipstream_operator.acceptance import BATCH, Acceptance, decide
from klipstream_operator.store import Store


def created(name: str, version: int, **spec: object) -> AnalysisJob:
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": str(version),
                "creationTimestamp": NOW.isoformat()}  # fmt: skip
    return AnalysisJob.from_wire({"metadata": metadata, "spec": {"videoUrl": "https://example.com/v.mp4", **spec}})


def changed(job: AnalysisJob, version: int, **update: object) -> AnalysisJob:
    metadata = job.metadata.model_copy(update={"resource_version": str(version)})
    return job.model_copy(update={"metadata": metadata, **update})


def empty_store() -> Store:
    return Store(lambda _: None, lambda _: None, lambda: None)


def test_jobs_that_waited_for_their_queue_keep_the_order_of_their_creation() -> None:
    store = empty_store()
    jobs = [created("first", 10, queueName="q"), created("second", 11, queueName="q")]
    for job in jobs:
        store.put_job(job, NOW)
    # The writes that say that there is no queue are answered in whatever order.
    held_up = [changed(job, 30 - n, status=decide(job, store, {}, NOW)) for n, job in enumerate(jobs)]
    for job in held_up:
        store.put_job(job, NOW)
        assert job.uid in store.unaccepted
    later = empty_store()  # of an operator that was started only now
    later.put_queue(queue(), NOW)
    for job in held_up:
        later.put_job(job, NOW)
    sequences = [decide(job, later, {}, NOW + timedelta(seconds=60)).sequence for job in held_up]
    assert sequences == [10, 11]


def test_a_job_that_is_changed_before_its_acceptance_keeps_its_place() -> None:
    store = empty_store()
    store.put_queue(queue(), NOW)
    for job in (created("first", 10, queueName="q"), created("second", 11, queueName="q")):
        store.put_job(job, NOW)
    store.put_job(changed(store.jobs["uid-first"], 12), NOW)
    sequences = [decide(store.jobs[f"uid-{name}"], store, {}, NOW).sequence for name in ("first", "second")]
    assert sequences == [10, 11]


GONE = {"uid-gone"}


class Written:
    """Stands for the API server: takes each status, and makes the job of it."""

    def __init__(self, store: Store, meanwhile: Callable[[AnalysisJob], None] = lambda _: None) -> None:
        self.store, self.meanwhile = store, meanwhile
        self.jobs: list[str] = []

    def now(self) -> datetime:
        return NOW

    async def write(self, job: AnalysisJob, status: AnalysisJobStatus, *_: object) -> bool:
        self.jobs.append(job.metadata.name)
        self.meanwhile(job)
        self.store.put_job(changed(job, 1_000_000 + len(self.jobs), status=status), NOW)
        return True


async def accepted(store: Store, writer: Written) -> list[str]:
    task = Acceptance(store, writer)  # type: ignore[arg-type]
    task.wanted.set()
    running = asyncio.create_task(task.run())
    async with asyncio.timeout(60):
        while task.wanted.is_set() or any(uid for uid in store.unaccepted if uid not in GONE):
            await asyncio.sleep(0)
    running.cancel()
    return writer.jobs


async def test_a_backlog_longer_than_one_batch_is_accepted_in_order() -> None:
    store = empty_store()
    store.put_queue(queue(maxQueueSize=100_000), NOW)
    names = [f"j{number}" for number in range(3 * BATCH + 1)]
    jobs = [created(name, 10 + number, queueName="q") for number, name in enumerate(names)]
    random.Random(1).shuffle(jobs)
    for job in jobs:
        store.put_job(job, NOW)
    assert await accepted(store, Written(store)) == names


async def test_a_submission_that_is_deleted_while_it_waits_for_its_batch_is_not_accepted() -> None:
    store = empty_store()
    store.put_queue(queue(maxQueueSize=100_000), NOW)
    names = [f"j{number}" for number in range(BATCH)]
    for number, name in enumerate([*names, "gone", "last"]):
        store.put_job(created(name, 10 + number, queueName="q"), NOW)

    def delete(job: AnalysisJob) -> None:
        gone = store.jobs["uid-gone"]
        metadata = gone.metadata.model_copy(update={"deletion_timestamp": NOW, "resource_version": "5000"})
        store.put_job(gone.model_copy(update={"metadata": metadata}), NOW)

    assert await accepted(store, Written(store, delete)) == [*names, "last"]


class Careful(Written):
    """… and does not send what was decided for a queue that has changed since."""

    async def write(self, job: AnalysisJob, status: AnalysisJobStatus, *more: object) -> bool:
        await asyncio.sleep(0.01)  # longer than until the next submission
        self.meanwhile(job)
        _, decided_for = more
        assert isinstance(decided_for, AnalysisQueue)
        if self.store.queues["n", "q"].metadata.generation != decided_for.metadata.generation:
            return False
        self.jobs.append(f"{job.metadata.name} {status.phase.value}")
        self.store.put_job(changed(job, 1_000_000 + len(self.jobs), status=status), NOW)
        return True


def changing_queue(store: Store, times: dict[str, int], **spec: int) -> Callable[[AnalysisJob], None]:
    """A queue that changes while those jobs are written, so many times each."""

    def put(generation: int) -> None:
        made = queue(**spec, maxConcurrentJobs=generation)
        metadata = made.metadata.model_copy(update={"generation": generation, "resource_version": str(generation)})
        store.put_queue(made.model_copy(update={"metadata": metadata}), NOW)

    def meanwhile(job: AnalysisJob) -> None:
        if times.get(job.metadata.name):
            times[job.metadata.name] -= 1
            put(store.queues["n", "q"].metadata.generation + 1)

    put(1)
    return meanwhile


async def test_a_queue_that_changes_while_submissions_are_written_takes_nobodys_place_away() -> None:
    """The last places of a queue that fills up are those of the first that were submitted."""
    store = empty_store()
    writer = Careful(store, changing_queue(store, {"j140": 1, "j290": 2}, maxQueueSize=400))
    for number in range(500):
        store.put_job(created(f"j{number}", 10 + number, queueName="q"), NOW)
    written = await accepted(store, writer)
    assert {name for name in written if name.endswith("Queued")} == {f"j{number} Queued" for number in range(400)}
    assert len(written) == 500


@pytest.mark.parametrize("problem", [None, ApiError(500, "InternalError", "no", None)])
async def test_a_request_that_is_lost_costs_nobody_his_place(problem: ApiError | None) -> None:
    lost = {"j5", "j190"}

    class Unlucky(Written):
        async def write(self, job: AnalysisJob, status: AnalysisJobStatus, *_: object) -> bool:
            await asyncio.sleep(0)
            if job.metadata.name in lost:
                lost.discard(job.metadata.name)
                if problem is not None:
                    raise problem
                return False
            self.jobs.append(f"{job.metadata.name} {status.phase.value}")
            self.store.put_job(changed(job, 1_000_000 + len(self.jobs), status=status), NOW)
            return True

    store = empty_store()
    store.put_queue(queue(maxQueueSize=200), NOW)
    for number in range(400):
        store.put_job(created(f"j{number}", 10 + number, queueName="q"), NOW)
    written = await accepted(store, Unlucky(store))
    assert {name for name in written if name.endswith("Queued")} == {f"j{number} Queued" for number in range(200)}
    assert len(written) == 400


async def test_a_queue_that_is_created_while_those_are_looked_at_that_wait_for_it_takes_the_first() -> None:
    store = empty_store()
    for number in range(4 * BATCH):
        store.put_job(created(f"j{number}", 10 + number, queueName="q"), NOW)

    class Creating(Written):
        async def write(self, job: AnalysisJob, status: AnalysisJobStatus, *_: object) -> bool:
            if job.metadata.name == f"j{2 * BATCH}" and not store.queues:
                store.put_queue(queue(maxQueueSize=BATCH), NOW)
            self.jobs.append(f"{job.metadata.name} {status.phase.value} {status.queue_name}")
            self.store.put_job(changed(job, 1_000_000 + len(self.jobs), status=status), NOW)
            return True

    written = await accepted(store, Creating(store))
    taken = {name.split()[0] for name in written if name.endswith("Queued q")}
    assert taken == {f"j{number}" for number in range(BATCH)}


async def test_nobody_is_turned_away_for_the_place_of_one_who_is_gone() -> None:
    store = empty_store()
    store.put_queue(queue(maxQueueSize=1), NOW)
    for number in range(3):
        store.put_job(created(f"j{number}", 10 + number, queueName="q"), NOW)

    class Deleting(Written):
        async def write(self, job: AnalysisJob, status: AnalysisJobStatus, *_: object) -> bool:
            if job.metadata.name == "j0":
                self.store.remove_job(job.uid)
                return False
            self.jobs.append(f"{job.metadata.name} {status.phase.value}")
            self.store.put_job(changed(job, 1_000_000 + len(self.jobs), status=status), NOW)
            return True

    assert await accepted(store, Deleting(store)) == ["j1 Queued", "j2 Rejected"]


async def test_nobody_overtakes_while_the_api_server_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "RETRY_SECONDS", 0.05)
    store, down = empty_store(), [5 * BATCH]
    store.put_queue(queue(maxQueueSize=100_000), NOW)
    names = [f"j{number}" for number in range(3 * BATCH)]
    for number, name in enumerate(names):
        store.put_job(created(name, 10 + number, queueName="q"), NOW)

    class Down(Written):
        async def write(self, job: AnalysisJob, status: AnalysisJobStatus, *_: object) -> bool:
            if down[0]:
                down[0] -= 1
                raise ApiError(500, "InternalError", "no", None)
            return await super().write(job, status)

    assert await accepted(store, Down(store)) == names


async def test_those_that_wait_for_a_queue_are_decided_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counting(job: AnalysisJob, *arguments: Any) -> AnalysisJobStatus:
        asked.append(job.metadata.name)
        return decide(job, *arguments)

    monkeypatch.setattr(acceptance, "decide", counting)
    store = empty_store()
    store.put_queue(queue(), NOW)
    for number in range(BATCH + 1):
        store.put_job(created(f"j{number}", 10 + number, queueName="nobody-s"), NOW)
    task = Acceptance(store, Written(store))  # type: ignore[arg-type]
    running = asyncio.create_task(task.run())

    async def after(change: Callable[[], object]) -> int:
        asked.clear()
        change()
        task.wanted.set()
        for _ in range(200):
            await asyncio.sleep(0)
        return len(asked)

    assert await after(lambda: None) == BATCH + 1
    assert await after(lambda: None) == BATCH + 1, "each says now what it waits for, which is a new version"
    assert await after(lambda: store.put_job(created("another", 999, queueName="nobody-s"), NOW)) == 1
    assert await after(lambda: None) == 1
    assert await after(lambda: None) == 0
    metadata = queue().metadata.model_copy(update={"name": "new", "uid": "new"})
    new = queue().model_copy(update={"metadata": metadata})
    assert await after(lambda: store.put_queue(new, NOW)) == BATCH + 2
    running.cancel()


async def test_a_submission_is_not_starved_by_those_that_follow_it() -> None:
    wanted: list[asyncio.Event] = []
    store = Store(lambda _: None, lambda _: None, lambda: [event.set() for event in wanted] and None)
    writer = Careful(store, changing_queue(store, {"j0": 3}, maxQueueSize=100_000))
    task = Acceptance(store, writer)  # type: ignore[arg-type]
    wanted.append(task.wanted)
    running = asyncio.create_task(task.run())
    async with asyncio.timeout(60):
        number = 0
        while "j0 Queued" not in writer.jobs:
            store.put_job(created(f"j{number}", 10 + number, queueName="q"), NOW)
            number += 1
            await asyncio.sleep(0.002)
    running.cancel()
