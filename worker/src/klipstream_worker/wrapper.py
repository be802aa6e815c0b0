"""Runs a program that knows nothing of the queue, and reads its progress from the lines that it prints."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO

from klipstream_worker.errors import AnalysisError
from klipstream_worker.progress_lines import LINE_BYTES, read_progress_line
from klipstream_worker.task import AnalysisTask

LOOK_SECONDS = 0.2
KILL_AFTER_SECONDS = 20.0
READ_BYTES = 65_536


class CommandFailed(AnalysisError):
    """The program could not be started, or did not end with 0."""

    error_code = "CommandFailed"
    keeps_message = True


def run(command: Sequence[str], task: AnalysisTask) -> None:
    """Run it to its end; its output goes where it would. Raises CommandFailed, Cancelled or StaleAttempt.

    When the analysis is to end, the program gets SIGTERM, and SIGKILL 20 s later.
    """
    try:
        child = subprocess.Popen(list(command), stdout=subprocess.PIPE)
    except OSError as error:
        raise CommandFailed(f"{command[0]}: {error.strerror}", retryable=False, exit_code=127) from None
    assert child.stdout is not None
    reader = threading.Thread(target=_read, args=(child.stdout, task), daemon=True)
    reader.start()
    killed_at: float | None = None
    while child.poll() is None:
        if task.stop_reason is not None and killed_at is None:
            killed_at = time.monotonic() + KILL_AFTER_SECONDS
            child.terminate()
        if killed_at is not None and time.monotonic() >= killed_at:
            child.kill()
        time.sleep(LOOK_SECONDS)
    # A grandchild may keep the pipe open for as long as it likes.
    reader.join(1.0)
    code = child.returncode
    if code == 0 and killed_at is None:
        return
    # Even a 0 is no success after SIGTERM: many programs end with it before their work is done.
    task.check()
    if code < 0:
        raise CommandFailed(f"{command[0]} was ended by {signal.Signals(-code).name}", exit_code=128 - code)
    raise CommandFailed(f"{command[0]} ended with exit code {code}", exit_code=code)


def _read(output: BinaryIO, task: AnalysisTask) -> None:
    """Pass the output on as it comes; lines that are too long to be progress are not kept."""
    line = b""
    while chunk := os.read(output.fileno(), READ_BYTES):
        with contextlib.suppress(OSError, ValueError):  # the program must not wait for a pipe that nobody reads
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        *whole, rest = (line + chunk).split(b"\n")
        for each in whole:
            if (told := read_progress_line(each.rstrip(b"\r"))) is not None:
                task.report(told.percentage, told.stage, told.message)
        line = rest[: LINE_BYTES + 1]
