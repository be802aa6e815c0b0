"""A real HTTP server that answers as a test's script says: faults no healthy API server produces on demand."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from klipstream_kube import Client, Connection

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedServer:
    """Each request takes the next reply of its method and path; the last one is repeated."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    script: dict[tuple[str, str], deque[Reply]] = field(default_factory=lambda: defaultdict(deque))

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self.script[method, path].extend(replies)

    def answer(self, body: Any, status: int = 200, **headers: str) -> Reply:
        async def reply(_: web.Request) -> web.StreamResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.json_response(body, status=status, headers=named)

        return reply

    def refuse(self, code: int, reason: str = "Because", message: str = "no", **headers: str) -> Reply:
        return self.answer(status_object(code, reason, message), code, **headers)

    def text(self, body: str, status: int = 200) -> Reply:
        async def reply(_: web.Request) -> web.StreamResponse:
            return web.Response(text=body, status=status)

        return reply

    def drop(self) -> Reply:
        """Read the request, then cut the connection: the sender cannot know what was done."""

        async def reply(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        return reply

    def stream(self, *chunks: bytes, then: str = "end") -> Reply:
        """Send the chunks as separate writes; then "end" the answer, stay "silent", or "reset"."""

        async def reply(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
                await asyncio.sleep(0.01)  # separate reads on the other side
            if then == "silent":
                await asyncio.sleep(3600)
            if then == "reset":
                assert request.transport is not None
                request.transport.abort()
            return response

        return reply

    def sent(self, method: str, path: str | None = None) -> list[Received]:
        return [each for each in self.received if each.method == method and path in (None, each.path)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.received.append(Received(request.method, request.path, dict(request.query), dict(request.headers), body))
        replies = self.script[request.method, request.path]
        if not replies:
            return web.json_response(status_object(418, "Unscripted", f"{request.method} {request.path}"), status=418)
        return await (replies.popleft() if len(replies) > 1 else replies[0])(request)


def status_object(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    app = web.Application(client_max_size=8 * 2**20)
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    running = TestServer(app)
    await running.start_server(shutdown_timeout=0.01)
    scripted.url = str(running.make_url("")).rstrip("/")
    try:
        yield scripted
    finally:
        await running.close()


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[Client]:
    async with Client(Connection(server.url)) as connected:
        yield connected


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same retries with waits of milliseconds."""
    for module in ("transport", "reflector"):
        monkeypatch.setattr(f"klipstream_kube.{module}._FIRST_WAIT_SECONDS", 0.002)
        monkeypatch.setattr(f"klipstream_kube.{module}._LONGEST_WAIT_SECONDS", 0.02)
