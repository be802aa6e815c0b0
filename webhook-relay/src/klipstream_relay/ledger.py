"""The ledger beside the event loop: one thread owns the file, and what comes in together is committed together."""

import asyncio
import contextlib
import fcntl
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from klipstream_relay.ledger_file import LedgerFile

T = TypeVar("T")
TOGETHER_AT_MOST = 500
"""Steps in one transaction."""


class LedgerInUse(Exception):
    """Another relay works with the same ledger."""


class _Step(NamedTuple):
    call: Callable[[LedgerFile], object]
    writes: bool
    done: Future[object]


class Ledger:
    """Steps on the file, in the order in which they were asked for. Use as an async context manager, or close it.

    What goes wrong with the file (a full disk) fails every step of its transaction, and so ends the process.
    """

    def __init__(self, path: Path, on_commit: Callable[[float, int], None] | None = None) -> None:
        """`on_commit` is told, on the ledger's thread, how long a commit took and how many steps it held."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path.with_suffix(".lock"))
        self._file = LedgerFile(path)
        self.identity = self._file.identity()
        """Of the file: whoever has it is the successor of whoever had it."""
        self._on_commit = on_commit
        self._steps: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    async def __aenter__(self) -> "Ledger":
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Carry out what was asked for, then close the file."""
        if self._closed:
            return
        self._closed = True
        self._steps.put(None)
        self._thread.join()
        self._file.close()
        self._lock.close()

    def read(self, call: Callable[[LedgerFile], T]) -> "asyncio.Future[T]":
        """Run a step that changes nothing on disk; it need not wait for a commit.

        No coroutine: the step has its place among the others at once, and not when it is first awaited.
        """
        return asyncio.wrap_future(self._ask(call, writes=False))

    def write(self, call: Callable[[LedgerFile], T]) -> "asyncio.Future[T]":
        """Run a step that changes something; done once that is committed. Its place is taken at once, too."""
        return asyncio.wrap_future(self._ask(call, writes=True))

    def write_now(self, call: Callable[[LedgerFile], T]) -> T:
        """The same, holding up the event loop: for one who must not go on faster than the disk."""
        return self._ask(call, writes=True).result()

    def _ask(self, call: Callable[[LedgerFile], T], writes: bool) -> "Future[T]":
        if self._closed:
            raise RuntimeError("the ledger is closed")
        done: Future[T] = Future()
        self._steps.put(_Step(call, writes, done))  # type: ignore[arg-type]  # the step and its future agree
        return done

    def _work(self) -> None:
        going_on = True
        while going_on:
            steps: list[_Step] = []
            step = self._steps.get()
            while step is not None:
                steps.append(step)
                if len(steps) == TOGETHER_AT_MOST:
                    break
                try:
                    step = self._steps.get_nowait()
                except queue.Empty:
                    break
            going_on = step is not None
            self._carry_out(steps)

    def _carry_out(self, steps: list[_Step]) -> None:
        """One transaction. A read is answered at once, a write when it is safe."""
        written: list[tuple[_Step, object]] = []
        began = time.perf_counter()
        try:
            for step in steps:
                if not step.done.set_running_or_notify_cancel() and not step.writes:
                    continue
                if step.writes and not written:
                    self._file.begin()
                result = step.call(self._file)
                if step.writes:
                    written.append((step, result))
                else:
                    step.done.set_result(result)
            if written:
                self._file.commit()
        except BaseException as error:
            self._file.rollback()
            for step in steps:
                with contextlib.suppress(Exception):
                    step.done.set_exception(error)
            return
        for step, result in written:
            with contextlib.suppress(Exception):  # who asked was cancelled meanwhile
                step.done.set_result(result)
        if written and self._on_commit is not None:
            self._on_commit(time.perf_counter() - began, len(written))


def _locked(path: Path) -> IO[bytes]:
    """Hold a file for as long as this process lives. Raises LedgerInUse."""
    held = path.open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise LedgerInUse(f"another relay works with {path.with_suffix('.db')}: only one may") from None
    return held
