"""Logs are followed a bounded number at once, in turns when there are more; over a real HTTP connection."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import web

from klipstream_api import AnalysisJob, AnalysisQueue, ProgressPost
from klipstream_kube import ApiError, Client, Connection
from klipstream_operator import log_progress
from klipstream_operator.log_progress import LogProgress
from klipstream_operator.progress import ProgressBook, Verdict
from klipstream_operator.store import Store
from klipstream_operator.workload import PodView, view_pod


class Api:
    """The part of the API server that serves logs."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0
        self.asked: Counter[str] = Counter()
        self.queries: list[dict[str, str]] = []
        self.status = 200
        self.chunks: list[bytes] = [b"::progress 10 Decoding\n"]
        self.ends = False

    async def log(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.match_info["pod"]] += 1
        self.queries.append(dict(request.query))
        if self.status != 200:
            return web.json_response({"kind": "Status", "code": self.status, "message": "no"}, status=self.status)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            response = web.StreamResponse()
            await response.prepare(request)
            for chunk in self.chunks:
                await response.write(chunk)
            if not self.ends:
                await asyncio.sleep(60)
            return response
        finally:
            self.open -= 1


class Book:
    """Keeps what it is given, in the place of the progress book."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float]] = []
        self.answers: list[Verdict | Exception] = []

    async def take(self, pod: PodView, post: ProgressPost) -> tuple[Verdict, None]:
        self.taken.append((pod.job_uid, post.percentage))
        answer = self.answers.pop(0) if self.answers else Verdict.TAKEN
        if isinstance(answer, Exception):
            raise answer
        return answer, None


class Scene:
    def __init__(self, api: Api, logs: LogProgress, store: Store, client: Client, book: Book) -> None:
        self.api, self.logs, self.store, self.client, self.book = api, logs, store, client, book

    def queue(self, progress_from: str, version: int) -> None:
        template = {"spec": {"containers": [{"name": "worker", "image": "i"}]}}
        wire = {"metadata": {"name": "q", "namespace": "n", "uid": "q", "resourceVersion": str(version)},
                "spec": {"workerTemplate": template, "progressFrom": progress_from}}  # fmt: skip
        self.store.put_queue(AnalysisQueue.from_wire(wire), self.client.now())

    def running(self, uid: str) -> None:
        status = {"phase": "Running", "attempt": 1, "queueName": "q", "sequence": 1}
        wire = {"metadata": {"name": uid, "namespace": "n", "uid": uid, "resourceVersion": "1"},
                "spec": {"videoUrl": "https://example.com/v.mp4"}, "status": status}  # fmt: skip
        pod = view_pod({
            "metadata": {"uid": f"pod-{uid}", "name": f"pod-{uid}", "namespace": "n", "resourceVersion": "1",
                         "labels": {"analysis.klipstream.io/job-uid": uid, "analysis.klipstream.io/attempt": "1"}},
            "spec": {},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "worker", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]},
        })  # fmt: skip
        assert pod is not None
        self.store.put_job(AnalysisJob.from_wire(wire), self.client.now())
        self.store.put_workload(pod)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def scene(streams_at_most: int) -> AsyncIterator[Scene]:
    api, book = Api(), Book()
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/n/pods/{pod}/log", api.log)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    holder: list[LogProgress] = []
    store = Store(lambda uid: holder[0].look(uid) if holder else None, lambda _: None, lambda: None)
    holder.append(LogProgress(client, store, cast(ProgressBook, book), streams_at_most))
    running = asyncio.create_task(holder[0].run())
    try:
        made = Scene(api, holder[0], store, client, book)
        made.queue("Logs", 1)
        yield made
    finally:
        running.cancel()
        await asyncio.wait({running})
        await client.close()
        await runner.cleanup()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_progress, "TURN_SECONDS", 0.1)
    monkeypatch.setattr(log_progress, "RETRY_SECONDS", (0.01, 0.02, 0.5))
    monkeypatch.setattr(log_progress, "WRITE_EVERY_SECONDS", 0.05)


async def test_more_logs_than_may_be_followed_take_turns() -> None:
    async with scene(streams_at_most=2) as made:
        for number in range(6):
            made.running(f"j{number}")
        await made.until(lambda: len(made.api.asked) == 6 and min(made.api.asked.values()) >= 2)
        assert made.api.most <= 3, "a server sees the end of one a little later"
        assert {uid for uid, _ in made.book.taken} == {f"j{number}" for number in range(6)}


async def test_a_log_is_begun_at_its_last_lines_and_gone_on_with_from_where_it_was_read() -> None:
    async with scene(streams_at_most=1) as made:
        made.running("j0")
        await made.until(lambda: made.book.taken)
        made.running("j1")
        await made.until(lambda: made.api.asked["pod-j0"] >= 2)
        first, again = made.api.queries[0], made.api.queries[-1]
        assert first == {"container": "worker", "follow": "true", "tailLines": "1000"}
        assert set(again) == {"container", "follow", "sinceTime"}


async def test_the_newest_line_is_told_and_no_more_often_than_workers_post() -> None:
    async with scene(streams_at_most=1) as made:
        made.api.chunks = [f"::progress {n} Decoding\n".encode() for n in range(1, 100)]
        made.running("j0")
        await made.until(lambda: ("j0", 99.0) in made.book.taken)
        assert len(made.book.taken) < 20


async def test_what_is_not_taken_yet_is_told_again() -> None:
    async with scene(streams_at_most=1) as made:
        made.book.answers = [Verdict.UNKNOWN, ApiError(500, "InternalError", "no"), Verdict.TAKEN]
        made.running("j0")
        await made.until(lambda: len(made.book.taken) == 3)
        await asyncio.sleep(0.2)
        assert made.book.taken == [("j0", 10.0)] * 3


async def test_a_log_that_is_too_fast_is_begun_anew_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_progress, "BYTES_PER_SECOND", 1000)
    monkeypatch.setattr(log_progress, "BURST_SECONDS", 0.1)
    async with scene(streams_at_most=1) as made:
        made.api.chunks = [b"x" * 999 + b"\n"] * 10
        began = asyncio.get_running_loop().time()
        made.running("j0")
        await made.until(lambda: made.api.asked["pod-j0"] >= 2)
        assert asyncio.get_running_loop().time() - began > 0.5, "it waits until it is not too fast on the average"
        assert "tailLines" in made.api.queries[1]


async def test_a_log_that_has_ended_is_asked_for_more_and_more_rarely() -> None:
    async with scene(streams_at_most=1) as made:
        made.api.ends = True
        made.running("j0")
        await asyncio.sleep(1.5)
        assert 2 <= made.api.asked["pod-j0"] <= 7


async def test_a_log_is_followed_no_more_once_its_queue_opts_out() -> None:
    async with scene(streams_at_most=1) as made:
        made.running("j0")
        await made.until(lambda: made.api.open == 1)
        made.queue("Posts", 2)
        await made.until(lambda: made.api.open == 0)
        made.queue("Logs", 3)
        await made.until(lambda: made.api.open == 1)
        made.store.remove_job("j0")
        await made.until(lambda: made.api.open == 0)


async def test_a_right_that_is_missing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with scene(streams_at_most=2) as made:
        made.api.status = 403
        made.running("j0")
        made.running("j1")
        await made.until(lambda: made.api.asked.total() >= 5)
    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "operator.progressFromLogs=true" in warnings[0].getMessage()
