"""Submissions that come at once, to a queue with few places."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from klipfake.ports import free_port
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.requests import Submission
from klipstream_gateway.routes import Call, Principal, Scope
from klipstream_gateway.service import make_service
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection

SUBMITTER = Principal("key:submitter", frozenset([Scope.SUBMIT]))
QUEUE = {
    "metadata": {"name": "default", "uid": "q", "resourceVersion": "1"},
    "spec": {"workerTemplate": {"spec": {"containers": [{"name": "w", "image": "i"}]}}, "maxQueueSize": 3},
}


async def submitted(queue: str | None, senders: int) -> tuple[int, list[Problem]]:
    """How many of so many submissions reach the API server, and why the others do not."""
    stored: list[dict[str, Any]] = []
    all_there = asyncio.Event()

    async def create(request: web.Request) -> web.Response:
        stored.append(await request.json())
        await all_there.wait()
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        stored[-1]["metadata"] |= {"uid": "u", "resourceVersion": "2", "creationTimestamp": now}
        return web.json_response(stored[-1], status=201)

    app, port = web.Application(), free_port()
    app.router.add_post("/apis/analysis.klipstream.io/v1alpha1/namespaces/default/analysisjobs", create)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with Client(Connection(f"http://127.0.0.1:{port}")) as client, asyncio.timeout(60):
            service = make_service(Settings.from_environment("default", {}), client, list)
            service.cache.put_queue(QUEUE)
            (route,) = [each for each in service.routes if each.operation == "submitAnalysis"]
            call = Call(SUBMITTER, "r", "192.0.2.1", {}, None, _video(queue), {})
            tries = [asyncio.create_task(_refusal(route.handler(call))) for _ in range(senders)]
            while len(stored) + sum(each.done() for each in tries) < senders:
                await asyncio.sleep(0.01)
            all_there.set()
            return len(stored), [problem for each in tries if (problem := await each) is not None]
    finally:
        await runner.cleanup()


def _video(queue: str | None) -> Submission:
    return Submission(video_url="https://example.com/v.mp4", queue=queue)


async def _refusal(answer: Any) -> Problem | None:
    try:
        await answer
    except Refused as refused:
        return refused.problem
    return None


async def test_submissions_that_name_their_queue_count_while_they_are_written() -> None:
    assert await submitted("default", 5) == (3, [Problem.QUEUE_FULL] * 2)


async def test_those_that_are_routed_count_as_well() -> None:
    assert await submitted(None, 5) == (3, [Problem.QUEUE_FULL] * 2)
