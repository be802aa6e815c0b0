"""One replica of the operator: the real one, started, frozen, killed and started again as a container is."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from klipsim.loop import NOBODY, PROCESS, Process
from klipsim.objects import Object
from klipstream_kube import ApiError, Gone, LeaseLost, Unreachable
from klipstream_operator.queue_writer import RestartRequested
from klipstream_operator.runtime import Runtime
from klipstream_operator.settings import Settings
from klipstream_operator.status_writer import ANALYSIS_QUEUES

if TYPE_CHECKING:
    from klipsim.network import Network, SimulatedClient

OPERATOR = "klipstream-operator"
"""What the names of all its processes begin with."""
POST_TIMEOUT_SECONDS = 5.0


@dataclass(slots=True)
class Replica:
    """A container that is started again whenever its process ends."""

    name: str
    network: Network
    settings: Settings
    rng: random.Random
    make_client: Callable[[Network, Replica, Process], SimulatedClient]
    bugs: list[str]
    """What ended a process and must not."""
    skew_seconds: float = 0.0
    partitioned: bool = False
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
        self.runtime = Runtime(replace(self.settings, identity=f"{self.name}-{self.starts}"), client)
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
        if self.process is None or self.process.dead:
            self.start()

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

    async def post(self, token: str, body: Object) -> tuple[int, Object]:
        """A worker's post; (0, {}) where the answer does not come in time."""
        process, runtime, loop = self.process, self.runtime, self.network.loop
        if process is None or runtime is None or process.dead:
            return 0, {}
        answered: asyncio.Future[tuple[int, Any]] = loop.create_future()

        async def receive() -> None:
            reply = await runtime.receiver.receive(token, orjson.dumps(body))
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


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
