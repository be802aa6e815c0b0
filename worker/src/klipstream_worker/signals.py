"""SIGTERM and SIGINT: the analysis is asked to end, and made to when it does not hear."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from klipstream_worker.errors import Cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE_SECONDS = 5.0
"""Kubernetes sends SIGKILL 30 s after SIGTERM, unless the pod says otherwise."""


class SignalWatch:
    """The first signal calls `ask`; where the block has not ended five seconds later, or at a second signal,
    Cancelled is raised wherever the main thread is, in a sleep or a read as well. Main thread only, like signals.

    A forked child, such as one of multiprocessing, reacts as it would without all this.
    """

    def __init__(self, ask: Callable[[Cancelled], None], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._ask = ask
        self._patience_seconds = patience_seconds
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}
        self._asked: Cancelled | None = None
        self._deaf = False
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Take the signals over; nothing happens outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)

    def hold(self) -> None:
        """From here on the end is being told: signals do not raise any more, nor kill."""
        self._deaf = True
        if self._timer is not None:
            self._timer.cancel()

    def restore(self) -> None:
        """Give the signals back."""
        self.hold()
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._as_before(number, frame)
            return
        if self._deaf:
            return
        if self._asked is None:
            self._asked = Cancelled(f"the process was told to end ({signal.Signals(number).name})")
            self._ask(self._asked)
            self._timer = threading.Timer(self._patience_seconds, self._insist, (number,))
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no more threads: the second signal, or SIGKILL, will do
                self._timer.start()
            return
        raise self._asked

    def _insist(self, number: int) -> None:
        """Only a signal makes the main thread leave a call that blocks."""
        if not self._deaf:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _as_before(self, number: int, frame: FrameType | None) -> None:
        handler = self._before.get(number, signal.SIG_DFL)
        if callable(handler):
            handler(number, frame)
            return
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.kill(os.getpid(), number)
