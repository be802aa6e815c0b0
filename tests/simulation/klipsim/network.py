"""The way between a replica and the API server: latency, faults, and what stands for an aiohttp session on it.

The client's own code runs above it, down to the fence that is asked just before the first byte is sent. Only what comes
back is not put into bytes and taken out of them again: all are handed the objects that the server holds, which nobody
changes.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from klipsim.apiserver import ApiServer
from klipsim.clocks import EPOCH
from klipsim.faults import REFUSALS, Fault, Injector
from klipsim.http_api import Answer, Call, Event, Watch, answer, refusal, target_of
from klipsim.loop import NOBODY, Handle, Process, SimulatedLoop
from klipsim.objects import Object
from klipsim.rows import row_of
from klipstream_kube import Client, Connection
from klipstream_kube.errors import from_status
from klipstream_kube.transport import current_fence

if TYPE_CHECKING:
    from klipsim.replica import Replica

BOOKMARK_SECONDS = 55.0
FASTEST_SECONDS, SLOWEST_SECONDS = 0.001, 0.02


@dataclass(slots=True)
class Network:
    """All connections of one run."""

    loop: SimulatedLoop
    server: ApiServer
    injector: Injector
    rng: random.Random
    down: bool = False
    """The API server answers nobody."""
    streams: list[WatchStream] = field(default_factory=list)
    requests: int = 0
    under_way: int = 0
    """Requests that were sent and did not arrive yet."""

    def latency(self) -> float:
        return self.rng.uniform(FASTEST_SECONDS, SLOWEST_SECONDS)

    def cut(self, replica: Replica | None = None) -> None:
        """Break the open watches of a replica, or of all."""
        for stream in list(self.streams):
            if replica is None or stream.replica is replica:
                stream.break_off(aiohttp.ClientPayloadError("the connection was reset"))

    def reachable(self, replica: Replica) -> bool:
        return not self.down and not replica.partitioned

    def date(self) -> str:
        return _date(int(self.server.now()))


@lru_cache(maxsize=1024)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


class SimulatedClient(Client):
    """The client of one replica."""

    def __init__(self, network: Network, replica: Replica, process: Process) -> None:
        super().__init__(Connection("https://simulated"), user_agent=f"klipstream-operator-{replica.name}")
        self._simulated = Session(network, replica, process)

    def _opened(self) -> Session:  # type: ignore[override]
        return self._simulated

    async def _decoded(self, response: Response) -> Any:  # type: ignore[override]
        return response.told()

    def _events(self, response: Response) -> AsyncGenerator[tuple[str, Object]]:  # type: ignore[override]
        return response.content.events()


@dataclass(slots=True)
class Session:
    """What the client uses of aiohttp.ClientSession."""

    network: Network
    replica: Replica
    process: Process

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        **_: Any,
    ) -> Response:
        """Send; the answer comes back after a while, or an error of aiohttp does."""
        network = self.network
        path = url.removeprefix("https://simulated")
        body = orjson.loads(data) if data else {}
        call = Call(method, path, params or {}, headers.get("Content-Type", ""), body, self.process.name)
        network.requests += 1
        if self.process.dead or not network.reachable(self.replica):
            await asyncio.sleep(network.latency())
            raise aiohttp.ClientConnectionError("Cannot connect to host simulated:443")
        if "watch" in call.params:
            return await self._watch(call, timeout)
        row = row_of(call)
        if (fence := current_fence()) is not None:
            fence()
        fault = network.injector.about_to_send(row)
        decided_at = network.loop.time()  # frozen from here on, it cannot decide otherwise any more
        if fault is not None and fault.kind == "frozen before sending":
            self.replica.freeze(fault.seconds)
            await asyncio.sleep(0)  # comes back when the replica goes on
        future: asyncio.Future[Answer] = network.loop.create_future()
        delay = network.latency() + (fault.seconds if fault is not None and fault.kind == "delayed" else 0.0)
        limit = timeout.total or 1e9
        now = network.loop.time()
        told = self.process.told.copy()
        sent = _Sent(network, self.replica, self.process, call, fault, future, now + limit, decided_at, told)
        network.under_way += 1
        network.loop.call_later(delay, sent.arrive, context=NOBODY)
        if delay >= limit:
            network.loop.call_later(limit, sent.expire, context=NOBODY)
        return Response(await future, network, self.process)

    async def _watch(self, call: Call, timeout: aiohttp.ClientTimeout) -> Response:
        network = self.network
        await asyncio.sleep(network.latency())
        refused = network.injector.refuses()
        if refused is not None:
            return Response(refused, network, self.process)
        target = target_of(call.path)
        assert target is not None
        stream = WatchStream(network, self.replica, self.process, idle_seconds=timeout.sock_read or 1e9)
        labels, fields = call.params.get("labelSelector"), call.params.get("fieldSelector")
        stream.watch = Watch(network.server, target.kind, target.namespace, labels, fields, stream.tell)
        stream.open(int(call.params["resourceVersion"]), float(call.params.get("timeoutSeconds", "300")))
        return Response(Answer(200, b"", {}), network, self.process, stream)


@dataclass(slots=True)
class _Sent:
    """A request on its way to the server, and its answer on the way back. It outlives its sender."""

    network: Network
    replica: Replica
    process: Process
    call: Call
    fault: Fault | None
    future: asyncio.Future[Answer]
    deadline: float
    sent_at: float
    told: dict[str, int]
    """What its sender knew then."""

    def arrive(self) -> None:
        """The server has it."""
        self.network.under_way -= 1
        kind = self.fault.kind if self.fault is not None else ""
        if kind == "crash before":
            self.replica.crash(self.process)
            return
        if kind == "reset before" or not self.network.reachable(self.replica):
            self._later(aiohttp.ClientOSError("Connection reset by peer"))
            return
        if kind in REFUSALS:
            code, reason, headers = REFUSALS[kind]
            self._later(refusal(code, reason, f"injected: {kind}", headers=headers))
            return
        refused = self.network.injector.refuses()
        found = refused or self._carry_out()
        if kind == "sent twice":
            self.network.loop.call_later(self.network.latency(), self._again, context=NOBODY)
        if kind == "crash after":
            self.replica.crash(self.process)
        elif kind == "answer lost":
            self._later(aiohttp.ServerDisconnectedError())
        else:
            self._later(found, self.fault.seconds if self.fault is not None and kind == "answer delayed" else 0.0)

    def _carry_out(self) -> Answer:
        """The server does it; the history says what its sender knew."""
        server = self.network.server
        server.sender = (EPOCH + self.sent_at, self.told, self.process.first_told)
        try:
            return answer(server, self.call)
        finally:
            server.sender = None

    def _again(self) -> None:
        """The same a second time; nobody hears the answer."""
        self._carry_out()

    def _later(self, outcome: Answer | Exception, more_seconds: float = 0.0) -> None:
        loop = self.network.loop
        due = loop.time() + self.network.latency() + more_seconds
        if due >= self.deadline:
            loop.call_at(self.deadline, self.expire, context=NOBODY)
        else:
            loop.call_at(due, self._settle, outcome, context=NOBODY)

    def _settle(self, outcome: Answer | Exception) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def expire(self) -> None:
        """The client gives up waiting."""
        self._settle(TimeoutError("the request took too long"))


class Response:
    """What the client uses of aiohttp.ClientResponse."""

    def __init__(self, found: Answer, network: Network, process: Process, stream: WatchStream | None = None) -> None:
        self.status = found.status
        self.reason = ""
        self.headers = {"Date": network.date(), **found.headers}
        self._found = found
        self._process = process
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    async def read(self) -> bytes:
        """The body of an error."""
        assert isinstance(self._found.body, bytes)
        return self._found.body

    def told(self) -> Object:
        """The object that a successful answer holds; its reader knows it from now on."""
        assert isinstance(self._found.body, dict)
        _note(self._process, self._found.told)
        return self._found.body

    @property
    def content(self) -> WatchStream:
        assert self._stream is not None
        return self._stream


class WatchStream:
    """The events of one watch on their way to a replica, in order."""

    def __init__(self, network: Network, replica: Replica, process: Process, idle_seconds: float) -> None:
        self.network = network
        self.replica = replica
        self.process = process
        self.watch: Watch | None = None
        self.lag_until, self.lag_seconds = 0.0, 0.0
        self.swallow = 0
        self.duplicate = 0
        self.muted = False
        self.given_up_at = 0.0
        """When a silent one is noticed to be."""
        self._idle_seconds = idle_seconds
        self._last_due = 0.0
        self._arrived: deque[tuple[Event | Exception | None, tuple[str, int] | None]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timers: list[Handle] = []

    def open(self, version: int, seconds: float) -> None:
        """Begin to listen; the server ends it after `seconds`."""
        assert self.watch is not None
        self.network.streams.append(self)
        self._timers.append(self.network.loop.call_later(seconds, self.tell, None, None, context=NOBODY))
        self._bookmarks()
        self.watch.begin(version)

    def _bookmarks(self) -> None:
        self._timers[1:] = [self.network.loop.call_later(BOOKMARK_SECONDS, self._bookmark, context=NOBODY)]

    def _bookmark(self) -> None:
        assert self.watch is not None
        self.watch.bookmark()
        self._bookmarks()

    def tell(self, event: Event | None, about: tuple[str, int] | None) -> None:
        """An event leaves the server."""
        if self.muted:
            return
        loop, now = self.network.loop, self.network.loop.time()
        lag = self.lag_seconds if now < self.lag_until else self.network.latency()
        if event is not None and self.swallow and event.type != "BOOKMARK":
            self.swallow -= 1
            return
        self._last_due = max(self._last_due, now + lag)
        loop.call_at(self._last_due, self._arrive, event, about, context=NOBODY)
        if event is not None and self.duplicate:
            self.duplicate -= 1
            loop.call_at(self._last_due, self._arrive, event, about, context=NOBODY)

    def inject(self, event: Event) -> None:
        """An event that the server did not send."""
        self._arrive(event, None)
        self._arrive(None, None)

    def mute(self) -> None:
        """Nothing comes any more, and nobody says so; the client gives up when it was silent for too long."""
        self.muted = True
        self.given_up_at = self.network.loop.time() + self._idle_seconds
        error = aiohttp.SocketTimeoutError("Timeout on reading data from socket")
        self.network.loop.call_later(self._idle_seconds, self.break_off, error, context=NOBODY)

    def break_off(self, error: Exception) -> None:
        """The connection is lost; what was on its way is lost too."""
        self._arrived.clear()
        self._arrive(error, None)

    def _arrive(self, item: Event | Exception | None, about: tuple[str, int] | None) -> None:
        self._arrived.append((item, about))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """The client has enough."""
        if self.watch is not None:
            self.watch.end()
        for timer in self._timers:
            timer.cancel()
        if self in self.network.streams:
            self.network.streams.remove(self)

    async def events(self) -> AsyncGenerator[tuple[str, Object]]:
        """The events as they come; those of type ERROR are raised."""
        while True:
            while not self._arrived:
                self._waiter = self.network.loop.create_future()
                await self._waiter
            item, about = self._arrived.popleft()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            if item.type == "ERROR":
                raise from_status(item.obj)
            if about is not None:
                _note(self.process, (about,))
            yield item


def _note(process: Process, told: tuple[tuple[str, int], ...]) -> None:
    for uid, version in told:
        process.first_told.setdefault(uid, version)
        if version > process.told.get(uid, 0):
            process.told[uid] = version
