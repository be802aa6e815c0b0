"""Event streams over HTTP: how many a caller may have, and when they end."""

import asyncio
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.test_utils import TestServer

from klipgate.served import served
from klipstream_gateway import streams
from klipstream_gateway.routes import Scope
from klipstream_gateway.sending import deliver

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
