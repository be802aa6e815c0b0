"""Sending one request: credentials, the fence before a write, retries, the server's clock, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from .backoff import Backoff
from .clock import ServerClock, steady_clock
from .config import Connection
from .errors import ApiError, ConfigurationError, TooManyRequests, Unauthorized, Unreachable, from_status

# Verb, resource ("jobs.batch"), HTTP status (0: no answer), seconds.
RequestHook = Callable[[str, str, int, float], None]
Fence = Callable[[], None]

_CONNECT_SECONDS = 10.0
_ATTEMPTS = 6
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 10.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

_fence: ContextVar[Fence | None] = ContextVar("fence", default=None)


def current_fence() -> Fence | None:
    """What is to be called just before the first byte of the request under way is sent; it may raise."""
    return _fence.get()


class _FencedRequest(aiohttp.ClientRequest):
    """Calls the fence when the connection is there and the first byte is about to be written.

    Waiting for a free or a new connection may take as long as a lease: a check made before it is worth
    nothing.
    """

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if (fence := current_fence()) is not None:
            fence()
        return await super().send(conn)


class Transport:
    """A pool of connections to one API server. Use as an async context manager, or close it."""

    def __init__(
        self,
        connection: Connection,
        *,
        user_agent: str = "klipstream",
        request_timeout_seconds: float = 30.0,
        max_connections: int = 100,
        on_request: RequestHook | None = None,
    ) -> None:
        self.connection = connection
        self.on_request = on_request
        self._clock = ServerClock(steady_clock(time.time, time.monotonic))
        # Beside the server compression costs both sides more time than it saves.
        self._headers = {
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_seconds, sock_connect=_CONNECT_SECONDS)
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._writes: set[asyncio.Task[dict[str, Any]]] = set()
        self._answered_at = time.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; what is under way, or comes later, ends in Unreachable."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def writes_are_answered(self, seconds: float) -> bool:
        """Wait, for that long at most, for the answers of the writes that are on their way; whether all came.

        For the end of a process: a write whose sender was cancelled goes on, since nobody could say whether the server
        took one that was broken off.
        """
        if self._writes:
            await asyncio.wait(self._writes, timeout=seconds)
        return not self._writes

    def silent_seconds(self) -> float:
        """Since the server last answered anything, or since the client was made."""
        return time.monotonic() - self._answered_at

    @property
    def server_offset_seconds(self) -> float:
        """The server's clock minus ours, as far as its answers tell it."""
        return self._clock.offset_seconds

    def now(self) -> datetime:
        """UTC, by the server's clock."""
        return self._clock.now()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        verb: str | None = None,
        resource: str = "",
        before_send: Fence | None = None,
        retry: bool | None = None,
        retry_when_asked: bool = True,
    ) -> dict[str, Any]:
        """Send one request and return the decoded answer. Every request but a watch goes through here.

        `retry` (by default: for GET only) sends again after a 5xx or a lost answer. A 429 is always
        retried, since the server did not act; a 503 with Retry-After if `retry_when_asked`. Waits grow
        with jitter, follow Retry-After, and end after six sends. `before_send` runs before every send; what
        it raises ends the request unsent. Raises ApiError, or Unreachable.
        """
        repeat = method == "GET" if retry is None else retry
        backoff = Backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        refreshed = False
        while True:
            try:
                sending = self._send(
                    method, path, params, body, content_type, verb or _VERBS.get(method, "get"), resource,
                    before_send,
                )  # fmt: skip
                return await (sending if method == "GET" else self._to_its_end(sending))
            except Unauthorized:
                # A rotated token: the server did nothing, and fresh credentials get one more try.
                if refreshed:
                    raise
                refreshed = True
                self.connection.credentials.refused()
                continue
            except Unreachable:
                if not repeat or backoff.failures + 1 >= _ATTEMPTS:
                    raise
                wait_seconds = backoff.next_seconds()
            except ApiError as error:
                asked = error.status == 503 and error.retry_after_seconds is not None and retry_when_asked
                again = isinstance(error, TooManyRequests) or asked or (repeat and error.status >= 500)
                if not again or backoff.failures + 1 >= _ATTEMPTS:
                    raise
                asked_seconds = min(error.retry_after_seconds or 0.0, _LONGEST_RETRY_AFTER_SECONDS)
                wait_seconds = asked_seconds + backoff.next_seconds()
            await asyncio.sleep(wait_seconds)

    async def _to_its_end(self, sending: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        """Send a write that goes on when its caller is cancelled, as far as `writes_are_answered` waits for it."""
        task = asyncio.create_task(sending)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        try:
            await asyncio.wait({task})  # shield of Python 3.14 would log what becomes of it when nobody waits
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else asks for it
            raise
        return task.result()

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        verb: str,
        resource: str,
        before_send: Fence | None,
    ) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        async with self.exchange(
            method, path, params=params, data=data, headers=headers, verb=verb, resource=resource,
            before_send=before_send,
        ) as response:  # fmt: skip
            answer = await self._decoded(response)
        if not isinstance(answer, dict):
            raise Unreachable(f"{method} {path}: the answer is no JSON object")
        return answer

    async def _decoded(self, response: aiohttp.ClientResponse) -> Any:
        return orjson.loads(await response.read())

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        verb: str,
        resource: str,
        before_send: Fence | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One send; yields a successful response, its body unread. Raises ApiError and Unreachable, also
        for what goes wrong while the body of the `async with` reads from the response."""
        started, status, sent = time.monotonic(), None, False

        def about_to_send() -> None:
            nonlocal sent
            if sent:
                # aiohttp repeats a DELETE by itself: the second could hit a successor of the same name.
                raise Unreachable(f"{method} {self.connection.server}{path}: the connection was lost")
            if before_send is not None:
                before_send()
            sent = True

        try:
            authorization = await self.connection.credentials.header()
            sent_headers = dict(headers or {}) | ({"Authorization": authorization} if authorization else {})
            fenced = _fence.set(about_to_send)
            sent_at = self._clock.local()
            try:
                response = await self._opened().request(
                    method, self.connection.server + path, params=params, data=data, headers=sent_headers,
                    timeout=timeout or self._timeout, ssl=self.connection.ssl_context or True,
                    server_hostname=self.connection.tls_server_name, proxy=self.connection.proxy,
                    allow_redirects=False,
                )  # fmt: skip
            finally:
                _fence.reset(fenced)
            async with response:
                status, self._answered_at = response.status, time.monotonic()
                self._clock.heard(response.headers.get("Date"), sent_at, self._clock.local())
                if status >= 300:
                    raise await _refusal(response)
                yield response
        except Unreachable:
            status = 0
            raise
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, ConfigurationError) as error:
            status = status or 0
            what = str(error) or type(error).__name__
            raise Unreachable(f"{method} {self.connection.server}{path}: {what}") from error
        finally:
            if self.on_request is not None and status is not None:
                self.on_request(verb, resource, status, time.monotonic() - started)

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Unreachable(f"the client of {self.connection.server} is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                headers=self._headers,
                request_class=_FencedRequest,
            )
        return self._session


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    """The error for an answer that is no success; proxies on the way answer with other things than JSON."""
    text = await response.read()
    try:
        status = orjson.loads(text)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        excerpt = text[:200].decode("utf-8", "replace").strip()
        status = {"reason": response.reason, "message": excerpt or response.reason}
    retry_after = response.headers.get("Retry-After", "")
    return from_status(
        status,
        code=response.status,
        retry_after_seconds=float(retry_after) if retry_after.isdigit() else None,
    )
