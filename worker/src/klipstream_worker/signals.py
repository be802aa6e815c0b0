"""SIGTERM and SIGINT: the analysis is asked to end, and made to when it does not hear."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from klipstream_worker.errors import AnalysisError, Cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE_SECONDS = 5.0
"""Kubernetes sends SIGKILL 30 s after SIGTERM, unless the pod says otherwise."""


class SignalWatch:
    """The first signal calls `ask`. Where nobody has heard of that five seconds later, or at a second signal, the
    reason is raised wherever the main thread is, in a sleep or a read as well. Main thread only, like signals.

    A forked child, such as one of multiprocessing, reacts as it would without all this.
    """

    def __init__(self, ask: Callable[[AnalysisError], None], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._ask = ask
        self._patience_seconds = patience_seconds
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}
        self._asked: AnalysisError | None = None
        self._signalled = False
        self._insists = False
        self._deaf = False
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Take the signals over; nothing happens outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            _watches.append(self)
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)

    def demand(self, reason: AnalysisError) -> None:
        """Have it raised in the main thread where nobody has heard of it five seconds later; from any thread."""
        if self._asked is None and self._before:
            self._asked = reason
            self._timer = threading.Timer(self._patience_seconds, self._insist)
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no more threads: the next signal, or SIGKILL, will do
                self._timer.start()

    def heard(self) -> None:
        """The analysis knows that it is to end and does so: it is not interrupted in that, unless by two signals."""
        if self._timer is not None:
            self._timer.cancel()

    def hold(self) -> None:
        """From here on the end is being told: signals do not raise any more, nor kill."""
        self._deaf = True
        self.heard()

    def restore(self) -> None:
        """Give the signals back."""
        self.hold()
        self._give_back()
        with contextlib.suppress(ValueError):
            _watches.remove(self)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # It came between the fork and what is done after it, below.
            self._give_back()
            os.kill(os.getpid(), number)
            return
        if self._deaf:
            return
        if self._asked is not None and (self._signalled or self._insists):
            raise self._asked
        # The first one: where the queue had asked before, the analysis has heard of that or will be made to.
        self._signalled = True
        if self._asked is None:
            reason = Cancelled(f"the process was told to end ({signal.Signals(number).name})")
            self.demand(reason)
            self._ask(reason)

    def _insist(self) -> None:
        """Only a signal makes the main thread leave a call that blocks."""
        if not self._deaf:
            self._insists = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


_watches: list[SignalWatch] = []


def _in_forked_child() -> None:
    """A child must die of SIGTERM at once, as multiprocessing expects: a handler in Python may be run only after the
    system call that the child is in, which may never return.
    """
    for watch in _watches:
        watch._give_back()
    _watches.clear()


os.register_at_fork(after_in_child=_in_forked_child)
