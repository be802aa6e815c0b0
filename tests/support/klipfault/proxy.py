"""A proxy between one client and the API server: it forwards with the cluster's certificate, and injects faults."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from klipfault.calls import Call, call_of
from klipfault.event_stream import lines, with_fault
from klipfault.faults import WATCH_FAULTS, Delay, DropAnswer, Fault, Refuse, Reset, Rule
from klipfault.record import Record, Write
from klipfault.statuses import status_body
from klipstream_kube import load_connection

LARGEST_BODY_BYTES = 64 * 1024 * 1024
GONE_SECONDS = 0.2
"""How soon a watch whose client left is noticed while nothing is sent."""
_PASSED_ON = ("Content-Type", "Date", "Retry-After", "Warning", "Audit-Id")
_NOT_PASSED_ON = frozenset({
    "host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "accept-encoding",
})  # fmt: skip


class Moment(Enum):
    """When a write is interrupted."""

    BEFORE = "before"
    """Nothing was forwarded."""
    AFTER = "after"
    """The API server has answered, and the answer was not passed on."""


class Then(Enum):
    """What becomes of an interrupted write."""

    GO_ON = "go on"
    DROP = "drop"
    """The connection is cut."""


Interruption = Callable[[Write], Awaitable[Then]]


class FaultProxy:
    """Serves the API on a port of its own, by plain HTTP, until closed. Use as an async context manager.

    Rules are asked in their order, and the first that meets a request decides. `counts` says which writes are numbered
    and may be interrupted: by default all that change what is stored.
    """

    def __init__(self, kubeconfig: Path, *, counts: Callable[[Call], bool] = lambda call: call.writes) -> None:
        self._upstream = load_connection(str(kubeconfig))
        self._counts = counts
        self._interruptions: dict[tuple[int, Moment], Interruption] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._serving: set[asyncio.Task[object]] = set()
        self.rules: list[Rule] = []
        self.record = Record()
        self.server = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._upstream.ssl_context or True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        application = web.Application(client_max_size=LARGEST_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._tracked)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.server = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        assert self._runner is not None
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this proxy and return its path; it holds no secret."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "faulty", "cluster": {"server": self.server}}],
            "users": [{"name": "faulty", "user": {}}],
            "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "faulty"}}],
            "current-context": "faulty",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def interrupt(self, ordinal: int, moment: Moment, call: Interruption) -> None:
        """Call a function at a write; its result says what becomes of the write, or of its answer."""
        self._interruptions[ordinal, moment] = call

    # --- one request -----------------------------------------------------------------------------------------

    async def _tracked(self, request: web.Request) -> web.StreamResponse:
        """Known while it is served, so that closing the proxy waits for no frozen one."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            return await self._serve(request)
        finally:
            self._serving.discard(task)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = call_of(request.method, request.path, request.query, body)
        fault = next((rule.fault for rule in self.rules if rule.meets(call)), None)
        if isinstance(fault, WATCH_FAULTS):
            return await self._forward(request, body, call, None, fault)
        if fault is not None:
            self.record.faults[fault.kind] += 1
        match fault:
            case Refuse(code, seconds):
                headers = {} if seconds is None else {"Retry-After": str(seconds)}
                return web.Response(
                    status=code, body=status_body(code, seconds), content_type="application/json", headers=headers
                )
            case Reset():
                return _cut(request)
            case Delay(seconds):
                await asyncio.sleep(seconds)
        write = self.record.begin(call) if self._counts(call) else None
        if await self._interrupted(write, Moment.BEFORE) is Then.DROP:
            return _cut(request)
        return await self._forward(request, body, call, write, fault)

    async def _forward(
        self,
        request: web.Request,
        body: bytes,
        call: Call,
        write: Write | None,
        fault: Fault | None,
    ) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        headers["Accept-Encoding"] = "identity"  # events are told apart by their line ends
        url = URL(self._upstream.server + request.raw_path, encoded=True)
        try:
            async with self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False,
                server_hostname=self._upstream.tls_server_name,
            ) as answer:  # fmt: skip
                if call.verb == "watch" and answer.status == 200:
                    return await self._pass_watch_on(request, answer, call, fault)
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, RuntimeError):  # RuntimeError: the proxy is being closed
            return _cut(request)
        if write is not None:
            write.code = answer.status
        if await self._interrupted(write, Moment.AFTER) is Then.DROP or isinstance(fault, DropAnswer):
            return _cut(request)
        return web.Response(status=answer.status, body=content, headers=_passed_on(answer))

    async def _interrupted(self, write: Write | None, moment: Moment) -> Then:
        if write is None:
            return Then.GO_ON
        interruption = self._interruptions.pop((write.ordinal, moment), None)
        return Then.GO_ON if interruption is None else await interruption(write)

    # --- a watch ---------------------------------------------------------------------------------------------

    async def _pass_watch_on(
        self,
        request: web.Request,
        answer: aiohttp.ClientResponse,
        call: Call,
        fault: Fault | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_passed_on(answer))
        events = lines(answer.content)
        if isinstance(fault, WATCH_FAULTS):
            events = with_fault(events, fault, self._injected)
        self.record.watches[call.resource] += 1
        try:
            await response.prepare(request)
            if not await _passed_on_to_the_end(events, response, request):
                return _cut(request)
            await response.write_eof()
        except ConnectionError:
            pass  # the client left
        finally:
            self.record.watches[call.resource] -= 1
        return response

    def _injected(self, kind: str) -> None:
        self.record.faults[kind] += 1


async def _passed_on_to_the_end(
    events: AsyncGenerator[bytes], response: web.StreamResponse, request: web.Request
) -> bool:
    """Pass events on until they end or the client leaves; False where the API server's connection was lost."""
    passing, left = (asyncio.create_task(each) for each in (_pass_on(events, response), _left(request)))
    try:
        await asyncio.wait({passing, left}, return_when=asyncio.FIRST_COMPLETED)
        return not passing.done() or passing.exception() is None
    finally:
        for task in (passing, left):
            task.cancel()
        await asyncio.gather(passing, left, return_exceptions=True)


async def _pass_on(events: AsyncGenerator[bytes], response: web.StreamResponse) -> None:
    async with contextlib.aclosing(events):
        async for event in events:
            await response.write(event)


async def _left(request: web.Request) -> None:
    """Ends once the client has closed the connection: a handler is not told."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(GONE_SECONDS)


def _cut(request: web.Request) -> web.Response:
    """End the connection without a byte; the response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _passed_on(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
