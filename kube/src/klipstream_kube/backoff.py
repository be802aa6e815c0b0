"""Growing waits with jitter."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from `first_seconds` to `limit_seconds`, each drawn from its upper half.

    The jitter keeps clients that lost the same server from coming back at the same moment.
    """

    def __init__(self, first_seconds: float, limit_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._limit_seconds = limit_seconds
        self.failures = 0

    def next_seconds(self) -> float:
        """The wait before the next try."""
        ceiling = min(self._limit_seconds, self._first_seconds * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load, protects nothing)

    def reset(self) -> None:
        """Forget the failures: something worked."""
        self.failures = 0
