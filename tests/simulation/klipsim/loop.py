"""An asyncio event loop whose clock is simulated, with processes that can be frozen and killed.

Nothing here waits: when no callback is ready, the clock jumps to the next timer. Callbacks run in the order in which
they became ready, so a run depends on nothing but its seed.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

CALLBACKS_AT_MOST = 2_000_000


class Stuck(AssertionError):
    """Nothing is left that could ever happen, or far too much happens."""


class Handle:
    """A callback that is to be run: asyncio's own without what only a real loop needs."""

    __slots__ = ("args", "callback", "context", "due", "void")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None, due: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.due = due
        self.void = False

    def cancel(self) -> None:
        """It stays in the heap and is passed over when its time comes."""
        self.void = True

    def cancelled(self) -> bool:
        return self.void

    def when(self) -> float:
        return self.due


class Process:
    """What is frozen and killed as a whole: its tasks are those that were started in its context.

    A killed process runs no further line, not even a `finally`; a frozen one finds, when it goes on, that time has
    passed. Its clock is `skew_seconds` off.
    """

    def __init__(self, name: str, skew_seconds: float = 0.0) -> None:
        self.name = name
        self.skew_seconds = skew_seconds
        self.dead = False
        self.told: dict[str, int] = {}
        """What it was told by the API server: uid and resourceVersion of AnalysisJobs and AnalysisQueues."""
        self.first_told: dict[str, int] = {}
        """The first version of each that it was told of."""
        self.frozen = False
        self._held: list[Handle] = []

    @property
    def stopped(self) -> bool:
        """Whether it cannot do anything now."""
        return self.dead or self.frozen

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self, loop: SimulatedLoop) -> None:
        """SIGCONT: everything that became due meanwhile is run, in order."""
        loop.ready.extend(self._held)
        self.frozen = False
        self._held.clear()

    def kill(self) -> None:
        """SIGKILL."""
        self.dead = True
        self.frozen = False
        self._held.clear()

    def keep(self, handle: Handle) -> None:
        """Take a callback that became ready while the process is stopped."""
        if self.frozen:
            self._held.append(handle)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
NOBODY = contextvars.Context()
"""What the server and the network do belongs to no replica, and goes on when one is killed."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one run. Blocking calls handed to a thread are made at once."""

    def __init__(self) -> None:  # nothing of the base class is wanted but its type
        self.ready: deque[Handle] = deque()
        self.errors: list[dict[str, Any]] = []
        self.callbacks = 0
        self.now = 0.0
        """Simulated seconds since the beginning."""
        self._timers: list[tuple[float, int, Handle]] = []
        self._numbers = itertools.count()
        self._running = False

    # --- what asyncio asks of a loop -------------------------------------------------------------------------

    def time(self) -> float:
        return self.now

    get_debug = bool
    """False, without a line of Python: each task and future asks."""

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, context, 0.0)
        self.ready.append(handle)
        return handle

    def __del__(self) -> None:
        """There is nothing to close."""

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        return self.call_at(self.now + max(0.0, delay), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed process leaves its tasks as they are
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    # --- running ---------------------------------------------------------------------------------------------

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run until the condition holds, looked at whenever the clock has moved. Raises Stuck."""
        asyncio._set_running_loop(self)
        self._running = True
        try:
            self._run_ready()
            while not condition():
                self._advance()
                self._run_ready()
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def _run_ready(self) -> None:
        ready = self.ready
        while ready:
            handle = ready.popleft()
            if handle.void:
                continue
            context = handle.context
            process: Process | None = context.get(PROCESS)
            if process is not None and (process.dead or process.frozen):
                process.keep(handle)
                continue
            self.callbacks += 1
            if self.callbacks > CALLBACKS_AT_MOST:
                raise Stuck(f"{self.callbacks} callbacks by {self.now:.1f} s: something runs in circles")
            try:
                context.run(handle.callback, *handle.args)
            except Exception as error:
                self.errors.append({"message": f"in {handle.callback}", "exception": error})

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].void:
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"at {self.now:.1f} s nothing is left that could happen")
        now = self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= now:
            self.ready.append(heapq.heappop(timers)[2])
