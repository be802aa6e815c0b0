"""Progress for whoever develops a worker on a laptop: lines on stderr, at most one a second for a stage."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TextIO

LINE_EVERY_SECONDS = 1.0


class Console:
    """Prints what would be posted."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out
        self._stage = ""
        self._printed_at = 0.0

    def show(self, percentage: float, stage: str, message: str, remaining_seconds: float | None) -> None:
        """Print a line, unless the last one of the same stage is younger than a second."""
        now = time.monotonic()
        if stage == self._stage and now - self._printed_at < LINE_EVERY_SECONDS:
            return
        self._stage, self._printed_at = stage, now
        left = f" (about {remaining_seconds:.0f} s left)" if remaining_seconds is not None else ""
        said = f": {message}" if message else ""
        with contextlib.suppress(OSError, ValueError):  # nobody may be there to read it
            print(f"[{percentage:5.1f} %] {stage}{said}{left}", file=self._out or sys.stderr, flush=True)
