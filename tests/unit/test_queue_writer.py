"""When a queue's writer has something to do again: not for its own write, but for what that makes possible.

The API server is a real HTTP server that merges what it is sent.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from klipfake.objects import UID, ended, job, kube_job, pod, queue, running
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_kube import Client
from klipstream_operator.queue_writer import QueueWriter
from klipstream_operator.store import Store
from klipstream_operator.turnstile import Turnstile
from klipstream_queueing.backlog import DEFAULT_LANE

KEY = ("n", "q")
PATH = "/apis/analysis.klipstream.io/v1alpha1/namespaces/n/analysisqueues/q/status"
AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
NEXT = "00000000-0000-4000-8000-000000000002"


class Told:
    """A store, and how often it told the queue's writer, and the others of what that wrote."""

    def __init__(self, of: AnalysisQueue, *jobs: AnalysisJob) -> None:
        self.writer = self.others = 0
        self.store = Store(lambda _: None, self._queue, lambda: None, on_written=self._written)
        self.store.put_queue(of, AGO)
        self.store.refused_templates[KEY] = (1, None)
        for each in jobs:
            self.store.put_job(each, AGO)
        self.writer = self.others = 0

    def _queue(self, _: tuple[str, str]) -> None:
        self.writer += 1

    def _written(self, _: tuple[str, str]) -> None:
        self.others += 1

    @property
    def admitted(self) -> list[str]:
        return [entry.uid for entry in self.store.queues[KEY].status.admitted]


@pytest.fixture
def writer_of(server: Any, client: Client) -> Callable[[Told], QueueWriter]:
    """A writer whose API server merges a patch into the queue, one level deep, and tells of it before it answers."""

    def make(told: Told) -> QueueWriter:
        stored = told.store.queues[KEY].to_wire()

        async def merge(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            assert body["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
            stored["metadata"]["resourceVersion"] = str(int(stored["metadata"]["resourceVersion"]) + 1)
            stored["status"] = {k: v for k, v in (stored["status"] | body["status"]).items() if v is not None}
            told.store.put_queue(AnalysisQueue.from_wire(stored), client.now())
            return web.json_response(stored)

        server.on("PATCH", PATH, merge)
        nobody: Any = None
        return QueueWriter(KEY, client, told.store, Turnstile(), lambda: None, nobody, nobody)

    return make


def waiting(uid: str = NEXT, sequence: int = 9) -> AnalysisJob:
    of = job({"sequence": sequence})
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"uid": uid, "name": f"job-{sequence}"})})


def holding(**status: Any) -> AnalysisQueue:
    return queue({"admitted": [{"uid": UID, "attempt": 1, "name": "a"}]} | status, maxConcurrentJobs=2)


async def test_a_write_with_a_moment_in_it_is_known_when_it_comes_back(writer_of: Any) -> None:
    """Its first conditions are as old as itself; they are written to the millisecond."""
    told = Told(queue(maxConcurrentJobs=2), waiting())
    assert not await writer_of(told).turn()
    assert told.admitted == [NEXT]
    assert told.store.queues[KEY].status.conditions
    assert (told.writer, told.others) == (0, 1)


async def test_a_released_slot_is_given_away_in_the_same_write(writer_of: Any) -> None:
    told = Told(holding(), job({"phase": "Succeeded", "attempt": 1, "finishedAt": AGO.isoformat()}), waiting())
    told.store.put_workload(kube_job())
    told.store.put_workload(ended(0))
    told.writer = 0
    assert not await writer_of(told).turn()
    assert (told.admitted, told.writer, told.others) == ([NEXT], 0, 1)


async def test_once_a_try_found_a_node_those_behind_it_follow(server: Any, writer_of: Any) -> None:
    """They are picked by the shortages that were there before the write that lifts them."""
    short = {"shape": DEFAULT_LANE, "since": AGO, "message": "m", "tries": 1, "nextTryAt": AGO, "trying": UID}
    told = Told(holding(capacity=[short]), job(running()), waiting())
    told.store.put_workload(kube_job())
    told.store.put_workload(pod())
    writer = writer_of(told)
    assert await writer.turn()
    assert (told.store.queues[KEY].status.capacity, told.admitted) == ((), [UID])
    assert not await writer.turn()
    assert told.admitted == [UID, NEXT]
    assert not await writer.turn()
    assert len(server.sent("PATCH")) == 2


async def test_a_replay_that_goes_on_is_told_to_those_who_carry_it_out(writer_of: Any) -> None:
    """The canary has succeeded: the Replayer hears that the others follow. That there are none, nobody else says."""
    replay = {
        "fingerprint": "f", "requestedAt": AGO, "state": "Canary", "canary": "a", "canaryUID": UID, "canaryReplay": 1,
    }  # fmt: skip
    canary = job({"phase": "Succeeded", "attempt": 2, "observedReplay": 1, "finishedAt": AGO.isoformat()}, replay=1)
    told = Told(queue({"replays": [replay]}), canary)
    writer = writer_of(told)
    assert await writer.turn()
    assert told.store.queues[KEY].status.replays[0].state == "Releasing"
    assert (told.writer, told.others) == (0, 1)
    assert await writer.turn()
    assert told.store.queues[KEY].status.replays[0].state == "Finished"
    assert told.store.queues[KEY].status.replays[0].message == "a succeeded, and there was no other."
    assert not await writer.turn()


async def test_nothing_is_written_twice(server: Any, writer_of: Any) -> None:
    told = Told(queue(maxConcurrentJobs=2), waiting())
    writer = writer_of(told)
    for _ in range(3):
        assert not await writer.turn()
    assert len(server.sent("PATCH")) == 1


async def test_a_lane_is_waited_for_though_another_has_been_open_for_long(writer_of: Any, client: Client) -> None:
    """Nobody waits in the open one, so that the turn leaves its shortage as it is."""
    soon = client.now() + timedelta(seconds=0.3)
    long_ago = {"shape": "large", "since": AGO, "message": "m", "tries": 1, "nextTryAt": AGO}
    told = Told(queue({"capacity": [long_ago, long_ago | {"shape": DEFAULT_LANE, "nextTryAt": soon}]}), waiting())
    running_writer = asyncio.create_task((writer := writer_of(told)).run())
    writer.dirty.set()
    async with asyncio.timeout(10):
        while told.admitted != [NEXT]:
            await asyncio.sleep(0.02)
    assert client.now() >= soon
    running_writer.cancel()
