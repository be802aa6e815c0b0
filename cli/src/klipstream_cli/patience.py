"""Patience with an API server that is away for a while, as when it restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from klipstream_cli.errors import ApiProblem, Problem, Unreachable
from klipstream_cli.printing import note

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
"""How long an API server may be away before a command that follows something gives up."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0


def is_away(problem: Problem) -> bool:
    """Whether asking again may help: no answer, or one that says that the server itself is in trouble."""
    return isinstance(problem, Unreachable) or (isinstance(problem, ApiProblem) and problem.status >= 500)


def patiently(call: Callable[[], T], deadline: float, patience_seconds: float = PATIENCE_SECONDS) -> T:
    """What a call that may be repeated gives, repeated while the API server is away.

    Raises its Problem: at once where repeating cannot help, else after `patience_seconds`, and at the deadline
    (by time.monotonic()).
    """
    until, pause, said = min(deadline, time.monotonic() + patience_seconds), FIRST_PAUSE_SECONDS, False
    while True:
        try:
            return call()
        except Problem as problem:
            left = until - time.monotonic()
            if not is_away(problem) or left <= 0:
                raise
            if not said:
                note(f"The API server is away ({problem.message}); trying again.")
                said = True
        time.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
