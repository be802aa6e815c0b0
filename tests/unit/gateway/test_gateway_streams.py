"""Event streams over HTTP: how many a caller may have, and when they end."""

import asyncio
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.test_utils import TestServer

from klipgate.served import served
from klipstream_api import AnalysisJob, Priority
from klipstream_gateway import streams
from klipstream_gateway.answers import JobStatusView
from klipstream_gateway.routes import ANONYMOUS, Call, EventStream, Scope
from klipstream_gateway.sending import deliver
from klipstream_gateway.views import Views

LONG = 60.0


async def test_a_caller_has_so_many_streams_and_leaves_the_rest_to_others(tmp_path):
    async with served(tmp_path, STREAMS_PER_ADDRESS="2", STREAMS_PER_KEY="1") as gateway:
        gateway.queue()
        events = f"/api/v1/jobs/{gateway.job('a')}/events"
        bearer = {"Authorization": f"Bearer {gateway.key(Scope.READ)}"}
        async with AsyncExitStack() as stack:
            for address in (events, "/dashboard/live?page=/dashboard"):
                answer = await stack.enter_async_context(gateway.session.get(address))
                assert answer.status == 200
            for address in (events, "/dashboard/live?page=/dashboard"):
                async with gateway.session.get(address) as answer:
                    assert answer.status == 429
                    assert "Retry-After" in answer.headers
            async with gateway.session.get("/api/v1/events", headers=bearer) as answer:
                assert answer.status == 200, "a key has places of its own"
                async with gateway.session.get(events, headers=bearer) as another:
                    assert another.status == 429
        async with asyncio.timeout(LONG):
            while gateway.service.places.taken or gateway.service.hub.count:
                await asyncio.sleep(0.01)


async def test_a_stream_ends_with_the_key_that_opened_it(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "ALIVE_SECONDS", 0.05)
    async with served(tmp_path) as gateway:
        bearer = {"Authorization": f"Bearer {gateway.key(Scope.READ)}"}
        async with asyncio.timeout(LONG), gateway.session.get("/api/v1/events", headers=bearer) as answer:
            assert answer.status == 200
            for file in tmp_path.iterdir():
                file.unlink()
            assert (await answer.content.read()).startswith(b"retry: 2000")


async def test_a_caller_that_reads_nothing_is_cut_off(tmp_path):
    over: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await deliver(request, response.write(b"x" * 1_000_000), seconds=0.5)
        except ConnectionResetError as error:
            over.set_result(error)
        return response

    app = web.Application()
    app.router.add_get("/", endless)
    async with TestServer(app) as server:
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(LONG):
            assert "does not read" in str(await over)
        writer.close()


async def test_a_browser_that_saw_the_end_of_a_job_is_told_to_ask_no_more(tmp_path):
    async with served(tmp_path) as gateway, asyncio.timeout(LONG):
        gateway.queue()
        events = f"/api/v1/jobs/{gateway.job('a', 10, 'Succeeded')}/events"
        async with gateway.session.get(events) as answer:
            assert answer.status == 200
            assert b"id: 10\nevent: job" in await answer.read()
        async with gateway.session.get(events, headers={"Last-Event-ID": "9"}) as answer:
            assert answer.status == 200, "it has not seen the end"
            assert b"id: 10" in await answer.read()
        async with gateway.session.get(events, headers={"Last-Event-ID": "10"}) as answer:
            assert answer.status == 204
            assert await answer.read() == b""
        waiting = f"/api/v1/jobs/{gateway.job('b', 11)}/events"
        async with gateway.session.get(waiting, headers={"Last-Event-ID": "11"}) as answer:
            assert answer.status == 200, "more will come"


async def test_a_job_that_is_removed_before_its_stream_begins_ends_it(tmp_path):
    async with served(tmp_path) as gateway, asyncio.timeout(LONG):
        gateway.queue()
        gateway.job("a", 10)
        (route,) = (each for each in gateway.service.routes if each.operation == "followJob")
        call = Call(ANONYMOUS, "r", "192.0.2.1", {"job_id": "a"}, None, None, {})
        stream = await route.handler(call)
        assert isinstance(stream, EventStream)
        gateway.service.cache.remove_job({"metadata": {"name": "a", "uid": "a", "resourceVersion": "12"}})
        seen = [event.event async for event in stream.events if event is not None]
        stream.leave()
        assert seen == ["job", "deleted"]
        assert gateway.service.hub.count == gateway.service.places.taken == 0


async def test_one_change_is_worked_out_once_for_all_who_are_told(tmp_path, monkeypatch):
    made: list[str] = []
    status = Views.status

    def counted(self: Views, job: AnalysisJob, what_if: Priority | None = None) -> JobStatusView:
        made.append(job.uid)
        return status(self, job, what_if)

    monkeypatch.setattr(Views, "status", counted)
    # What is shown stays true for long enough, however slow this machine is.
    monkeypatch.setattr(streams, "ENCODED_SECONDS", LONG)
    async with served(tmp_path, STREAMS_PER_ADDRESS="100") as gateway, asyncio.timeout(LONG), AsyncExitStack() as stack:
        gateway.queue()
        events = f"/api/v1/jobs/{gateway.job('a', 10)}/events"
        answers = [await stack.enter_async_context(gateway.session.get(events)) for _ in range(50)]
        for answer in answers:
            while b"id: 10" not in await answer.content.readline():
                pass
        gateway.job("a", 11, priority="HIGH")
        for answer in answers:
            while b"id: 11" not in await answer.content.readline():
                pass
            while b'"priority":"HIGH"' not in await answer.content.readline():
                pass
    assert made == ["a", "a"]
