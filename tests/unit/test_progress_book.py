"""When a worker's post is answered: what was answered is written, as far as that is promised."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from klipfake.objects import UID, job, pod, running
from klipstream_api import AnalysisJob, ProgressPost
from klipstream_kube import Client
from klipstream_operator import progress as progress_module
from klipstream_operator.progress import ProgressBook, Verdict
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import Store
from klipstream_operator.turnstile import Turnstile

OBJECT = "/apis/analysis.klipstream.io/v1alpha1/namespaces/n/analysisjobs/a"
Wire = dict[str, Any]


class Stored:
    """One AnalysisJob in an API server: guarded merge patches, and refusals when told so."""

    def __init__(self, analysis_job: AnalysisJob) -> None:
        self.wire: Wire = json.loads(analysis_job.model_dump_json(by_alias=True, exclude_none=True))
        self.writes: list[Wire] = []
        self.refusals: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def get(self, _: web.Request) -> web.Response:
        return web.json_response(self.wire)

    async def patch(self, request: web.Request) -> web.Response:
        await self.open.wait()
        body = await request.json()
        code = self.refusals.pop(0) if self.refusals else 200
        if body["metadata"]["resourceVersion"] != self.wire["metadata"]["resourceVersion"]:
            code = 409
        if code != 200:
            return web.json_response({"kind": "Status", "code": code, "reason": "Because"}, status=code)
        self.write(**body["status"])
        self.writes.append(body["status"])
        return web.json_response(self.wire)

    def write(self, **status: Any) -> None:
        """By us or by another."""
        progress = self.wire["status"].get("progress", {}) | status.pop("progress", {})
        version = int(self.wire["metadata"]["resourceVersion"]) + 1
        self.wire = self.wire | {
            "metadata": self.wire["metadata"] | {"resourceVersion": str(version)},
            "status": self.wire["status"] | status | ({"progress": progress} if progress else {}),
        }

    @property
    def progress(self) -> Wire:
        return dict(self.wire["status"].get("progress", {}))


@pytest.fixture
def stored(server: Any) -> Stored:
    found = Stored(job(running("Starting")))
    server.on("GET", OBJECT, found.get)
    server.on("PATCH", OBJECT + "/status", found.patch)
    return found


@pytest.fixture
async def book(client: Client, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProgressBook]:
    """A book whose seconds are tenths."""
    for name in ("WRITE_EVERY_SECONDS", "CHECKPOINT_EVERY_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(progress_module, name, getattr(progress_module, name) / 5)
    store = Store(lambda _: None, lambda _: None, lambda: None)
    made = ProgressBook(store, StatusWriter(client, store, None, Turnstile()))
    made.writer.take(stored.wire)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def take(book: ProgressBook, percentage: float, **more: Any) -> Verdict:
    post = ProgressPost.model_validate({"percentage": percentage, "stage": "Analyzing"} | more)
    verdict, _ = await book.take(pod(), post)
    return verdict


async def test_the_first_post_is_answered_once_it_is_written(book: ProgressBook, stored: Stored) -> None:
    assert await take(book, 10) is Verdict.TAKEN
    assert (stored.wire["status"]["phase"], stored.progress["percentage"]) == ("Running", 10)


async def test_a_new_checkpoint_is_answered_once_it_is_written(book: ProgressBook, stored: Stored) -> None:
    await take(book, 10)
    for number in range(3):
        assert await take(book, 20, checkpoint=str(number)) is Verdict.TAKEN
        assert stored.progress["checkpoint"] == str(number)
    assert len(stored.writes) == 4


async def test_what_comes_faster_than_the_interval_is_written_together(book: ProgressBook, stored: Stored) -> None:
    await take(book, 10)
    for percentage in (20, 30, 40):
        assert await take(book, percentage) is Verdict.TAKEN
    assert stored.progress["percentage"] == 10
    async with asyncio.timeout(60):
        while stored.progress["percentage"] != 40:
            await asyncio.sleep(0.05)
    assert len(stored.writes) == 2


async def test_a_worker_that_keeps_to_the_interval_is_answered_once_it_is_written(
    book: ProgressBook, stored: Stored
) -> None:
    for percentage in (10, 20, 30):
        assert await take(book, percentage) is Verdict.TAKEN
        assert stored.progress["percentage"] == percentage
        await asyncio.sleep(1.05)


async def test_posts_without_anything_new_cost_no_write(book: ProgressBook, stored: Stored) -> None:
    for _ in range(3):
        assert await take(book, 10, checkpoint="c") is Verdict.TAKEN
        await asyncio.sleep(0.3)
    assert len(stored.writes) == 1


async def test_a_post_that_could_not_be_written_is_to_be_posted_again_and_is_tried_at_once(
    book: ProgressBook, stored: Stored
) -> None:
    stored.refusals = [500]
    assert await take(book, 10, checkpoint="c") is Verdict.UNKNOWN
    assert stored.progress == {}
    assert await take(book, 10, checkpoint="c") is Verdict.TAKEN
    assert stored.progress["checkpoint"] == "c"


async def test_a_worker_does_not_wait_for_an_api_server_that_does_not_answer(
    book: ProgressBook, stored: Stored
) -> None:
    stored.open.clear()
    assert await take(book, 10) is Verdict.UNKNOWN
    stored.open.set()
    await asyncio.sleep(0.2)
    assert stored.progress["percentage"] == 10, "it is written all the same"


async def test_a_conflict_is_decided_again_with_what_was_written_meanwhile(book: ProgressBook, stored: Stored) -> None:
    await take(book, 10)
    stored.write(progress={"percentage": 50.0, "stage": "Elsewhere", "updatedAt": "2020-01-01T00:00:00Z"})
    assert await take(book, 20, checkpoint="c") is Verdict.TAKEN
    assert (stored.progress["percentage"], stored.progress["checkpoint"]) == (50, "c")


async def test_a_checkpoint_that_a_later_one_of_another_replica_overtook_is_not_answered_as_taken(
    book: ProgressBook, stored: Stored
) -> None:
    await take(book, 10)
    later = {"percentage": 50.0, "stage": "Later", "updatedAt": "2999-01-01T00:00:00Z", "checkpoint": "theirs"}
    stored.write(progress=later)
    assert await take(book, 60, checkpoint="ours") is Verdict.UNKNOWN
    assert (stored.progress["percentage"], stored.progress["checkpoint"]) == (60, "theirs")


async def test_a_post_of_an_attempt_that_ended_while_it_waited_is_stale(book: ProgressBook, stored: Stored) -> None:
    await take(book, 10)
    stored.open.clear()
    answer = asyncio.create_task(take(book, 20, checkpoint="c"))
    await asyncio.sleep(0.3)
    stored.write(phase="Failed")
    stored.open.set()
    assert await answer is Verdict.STALE
    assert "checkpoint" not in stored.progress


async def test_at_the_end_everything_that_was_taken_is_written_and_no_more_is_taken(
    client: Client, stored: Stored
) -> None:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    book = ProgressBook(store, StatusWriter(client, store, None, Turnstile()))
    book.writer.take(stored.wire)
    running_book = asyncio.create_task(book.run())
    await take(book, 10)
    await take(book, 20)
    waiting = asyncio.create_task(take(book, 30, checkpoint="c"))
    await asyncio.sleep(0)
    running_book.cancel()
    await asyncio.gather(running_book, return_exceptions=True)
    await book.finish(5)
    assert await waiting is Verdict.TAKEN
    assert (stored.progress["percentage"], stored.progress["checkpoint"]) == (30, "c")
    assert await take(book, 40) is Verdict.UNKNOWN


async def test_the_end_does_not_wait_longer_than_it_was_given(client: Client, stored: Stored) -> None:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    book = ProgressBook(store, StatusWriter(client, store, None, Turnstile()))
    book.writer.take(stored.wire)
    stored.open.clear()
    waiting = asyncio.create_task(take(book, 10))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        await book.finish(0.1)
        assert await waiting is Verdict.UNKNOWN
    stored.open.set()


async def test_nothing_is_remembered_of_jobs_that_are_over(book: ProgressBook, stored: Stored) -> None:
    await take(book, 10)
    await take(book, 20)
    stored.write(phase="Succeeded")
    book.writer.take(stored.wire)
    async with asyncio.timeout(60):
        while UID in book.store.progress or any((book._written_at, book._due, book._writing, book._answers)):
            await asyncio.sleep(0.05)
