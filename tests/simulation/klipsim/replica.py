"""One replica of the operator: the real one, started, frozen, killed and started again as a container is."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from klipsim.loop import NOBODY, PROCESS, Process
from klipsim.objects import Object
from klipstream_kube import ApiError, Gone, LeaseLost, Unreachable
from klipstream_operator.progress_forwarder import NotForwarded, ProgressForwarder
from klipstream_operator.queue_writer import RestartRequested
from klipstream_operator.runtime import Runtime
from klipstream_operator.settings import Settings
from klipstream_operator.status_writer import ANALYSIS_QUEUES

if TYPE_CHECKING:
    from klipsim.network import Network, SimulatedClient

OPERATOR = "klipstream-operator"
"""What the names of all its processes begin with."""
POST_TIMEOUT_SECONDS = 5.0
SAME_POD = "bdfh"
"""Replicas whose pod stays when their process ends."""


@dataclass(slots=True)
class Replica:
    """A container that is started again whenever its process ends."""

    name: str
    network: Network
    settings: Settings
    rng: random.Random
    make_client: Callable[[Network, Replica, Process], SimulatedClient]
    peers: Callable[[int], list[Replica]]
    """The replicas of a shard that run."""
    bugs: list[str]
    """What ended a process and must not."""
    skew_seconds: float = 0.0
    partitioned: bool = False
    retired: bool = False
    """Whether its Deployment is gone, so that it is not started again."""
    starts: int = 0
    process: Process | None = None
    runtime: Runtime | None = None
    _task: asyncio.Task[None] | None = None
    _context: contextvars.Context = field(default_factory=contextvars.Context)

    # --- its life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a process."""
        self.starts += 1
        self.process = Process(f"{OPERATOR}-{self.name}.{self.starts}", self.skew_seconds)
        self._context = contextvars.Context()
        self._context.run(PROCESS.set, self.process)
        self._task = self._context.run(self._begin)

    def _begin(self) -> asyncio.Task[None]:
        assert self.process is not None
        client = self.make_client(self.network, self, self.process)
        # A container that is started again in its pod has the name that it had before; a new pod has another.
        identity = self.name if self.name in SAME_POD else f"{self.name}-{self.starts}"
        self.runtime = Runtime(replace(self.settings, identity=identity), client)
        if self.settings.shard.of > 1:
            self.runtime.receiver.forwarder = _Forwarder(self.settings.shard, self.settings.shard_url, replica=self)
        return self.network.loop.create_task(self._main(self.runtime, self.process))

    async def _main(self, runtime: Runtime, process: Process) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(self._feed_queues(runtime))
                await runtime.work()
                feeding.cancel()
        except* (LeaseLost, RestartRequested):
            pass
        except* asyncio.CancelledError:
            pass
        except* Exception as group:
            self.bugs += [f"{process.name} died: {error!r}" for error in _leaves(group)]
        self._ended(process)

    def _ended(self, process: Process) -> None:
        if process is self.process and not process.dead:
            process.kill()
            self._start_again(self.rng.uniform(0.5, 3.0))

    def _start_again(self, seconds: float) -> None:
        self.network.loop.call_later(seconds, self._start_if_dead, context=NOBODY)

    def _start_if_dead(self) -> None:
        if not self.retired and (self.process is None or self.process.dead):
            self.start()

    def retire(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL after a while; for good."""
        self.retired = True
        self.terminate()
        if self.process is not None:
            self.network.loop.call_later(grace_seconds, self.crash, self.process, context=NOBODY)

    def crash(self, process: Process) -> None:
        """SIGKILL, if this process still runs; another one follows."""
        if process is self.process and not process.dead:
            process.kill()
            self.network.cut(self)
            self._start_again(self.rng.uniform(0.5, 6.0))

    def terminate(self) -> None:
        """SIGTERM."""
        if self.runtime is not None and self.process is not None and not self.process.dead:
            self._context.run(self.runtime.stop)

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        process = self.process
        if process is not None and not process.stopped:
            process.freeze()
            self.network.loop.call_later(seconds, self._thaw, process, context=NOBODY)

    def _thaw(self, process: Process) -> None:
        if process.frozen:
            process.thaw(self.network.loop)

    def recover(self) -> None:
        """The end of all faults."""
        self.partitioned = False
        if self.process is not None:
            self._thaw(self.process)

    @property
    def runs(self) -> bool:
        return self.process is not None and not self.process.stopped

    # --- what Kopf brings ----------------------------------------------------------------------------------------

    async def _feed_queues(self, runtime: Runtime) -> None:
        """AnalysisQueues as Kopf feeds them: listed, watched, and deletions that it misses are never told."""
        client = runtime.client
        while True:
            try:
                items, version = await client.list(ANALYSIS_QUEUES, runtime.namespaces[0])
                for obj in items:
                    runtime.queue_event(None, obj)
                while True:
                    stream = client.watch(ANALYSIS_QUEUES, runtime.namespaces[0], resource_version=version)
                    async with aclosing(stream) as events:
                        async for kind, obj in events:
                            version = obj["metadata"]["resourceVersion"]
                            if kind != "BOOKMARK":
                                runtime.queue_event(kind, obj)
            except Gone:
                continue
            except (ApiError, Unreachable):
                await asyncio.sleep(1.0)

    # --- what workers post -----------------------------------------------------------------------------------------

    async def post(self, token: str, body: Object, forwarded: bool = False) -> tuple[int, Object]:
        """A worker's post, or one that another shard sent on; (0, {}) where the answer does not come in time."""
        process, runtime, loop = self.process, self.runtime, self.network.loop
        if process is None or runtime is None or process.dead:
            return 0, {}
        answered: asyncio.Future[tuple[int, Any]] = loop.create_future()

        async def receive() -> None:
            reply = await runtime.receiver.receive(token, orjson.dumps(body), forwarded)
            if not answered.done():
                answered.set_result((reply.status, reply.body))

        context = self._context.copy()
        task = loop.create_task(receive(), context=context)
        try:
            async with asyncio.timeout(POST_TIMEOUT_SECONDS):
                return await answered
        except TimeoutError:
            return 0, {}
        finally:
            del task


@dataclass(slots=True)
class _Forwarder(ProgressForwarder):
    """The way to another shard, without HTTP."""

    replica: Replica | None = None

    async def forward(self, number: int, token: str, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        assert self.replica is not None
        if not (peers := self.replica.peers(number)):
            raise NotForwarded("nobody runs")
        status, answer = await self.replica.rng.choice(peers).post(token, orjson.loads(body), forwarded=True)
        if not status:
            raise NotForwarded("no answer")
        return status, orjson.dumps(answer), {}


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
