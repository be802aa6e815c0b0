"""Operators as processes that start in milliseconds: `python -m klipsweep.nursery` imports them once, and forks.

Importing costs a second or more of CPU, several times what a short run needs. What runs in a child is the operator's
own `main`, with an environment, a log and a random state of its own.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import os
import random
import select
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(slots=True)
class Child:
    """A running operator."""

    pid: int
    ended: asyncio.Future[int]
    """Its exit code, negative for a signal."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):  # buried, and about to be told
                os.kill(self.pid, number)


def _unwanted(starting: asyncio.Future[Child]) -> None:
    if not starting.cancelled():
        starting.result().send(signal.SIGKILL)


class Nursery:
    """The parent of all operators of a run. Use as an async context manager; none outlives it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._children: dict[int, Child] = {}
        self._starting: dict[int, asyncio.Future[Child]] = {}
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "klipsweep.nursery",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reading is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def start(self, environment: Mapping[str, str], log: Path) -> Child:
        """Start an operator with these variables besides ours; its output is appended to a file.

        Whoever is cancelled meanwhile leaves nothing behind: the process is killed as soon as it is known.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        starting = self._starting[number] = asyncio.get_running_loop().create_future()
        asked = json.dumps({"number": number, "environment": dict(environment), "log": str(log)})
        self._process.stdin.write(asked.encode() + b"\n")
        try:
            await self._process.stdin.drain()
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_unwanted)
            raise

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if told["event"] == "started":
                child = Child(told["pid"], asyncio.get_running_loop().create_future())
                self._children[child.pid] = child
                self._starting.pop(told["number"]).set_result(child)
            else:
                self._children.pop(told["pid"]).ended.set_result(told["code"])
        for child in self._children.values():
            child.ended.set_result(-signal.SIGKILL)


# --- the parent process ------------------------------------------------------------------------------------------


def _tell(**event: Any) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def _be_an_operator(environment: Mapping[str, str], log: str) -> None:
    from kubernetes.config import kube_config

    from klipstream_operator.__main__ import main

    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((nothing, output, output)):
            os.dup2(file, number)
        os.environ.update(environment)
        # The official client looked at the variable when it was imported, in the parent.
        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]
        random.seed()
        signal.signal(signal.SIGUSR1, _say_what_waits)
        code = main()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _say_what_waits(*_: object) -> None:
    """Where every task of the process stands, for a run that hangs."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)


def _bury(children: set[int]) -> None:
    """Tell of every child that has ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)
        _tell(event="ended", pid=pid, code=os.waitstatus_to_exitcode(status))


def serve() -> None:
    """Fork an operator for each line that asks for one, until the input ends; then kill those that are left."""
    import kubernetes.client  # noqa: F401 - read where a kubeconfig is, and half of the time that a start takes

    import klipstream_operator.__main__  # noqa: F401

    # Garbage collections in the children would copy every page of what they share with their parent.
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    asked = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            _bury(children)
        if 0 not in readable:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, asked = (asked + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _be_an_operator(request["environment"], request["log"])
            children.add(pid)
            _tell(event="started", number=request["number"], pid=pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    serve()
