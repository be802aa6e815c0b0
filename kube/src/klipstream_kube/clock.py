"""The API server's clock, as far as its answers tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

# Two quartz clocks drift apart by less than this; what was learnt loses this much precision per second.
_DRIFT = 1e-4


def steady_clock(
    wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[], float]:
    """Unix seconds that go on evenly when somebody sets the wall clock.

    An answer would show that it was set, but only the next one: what is decided until then would be wrong, and a
    timer that is set by it would stay so.
    """
    began = wall() - monotonic()
    return lambda: began + monotonic()


@lru_cache(maxsize=4)  # many answers come in one second
def _seconds(date: str) -> float | None:
    """Unix seconds of a Date header; None where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


class ServerClock:
    """Bounds the server's clock minus ours from the Date headers of its answers.

    A Date header is the server's time cut to a whole second, taken somewhere between sending the request
    and having its answer. So each answer confines the offset to an interval (a little over a second
    wide), and the intervals of many answers intersect to a narrow one. The offset in use is the one
    nearest to zero that contradicts no answer: with clocks that agree it is 0 and does not jitter.
    An answer that contradicts what is known means that a clock was set; it alone counts from then on.
    """

    def __init__(self, local: Callable[[], float] = time.time) -> None:
        self.local = local
        """Our clock, in Unix seconds."""
        self.offset_seconds = 0.0
        """Seconds to add to the local clock to get the server's; 0 before the first answer."""
        self._low_seconds = float("-inf")
        self._high_seconds = float("inf")
        self._heard_at = 0.0

    def heard(self, date: str | None, sent_at: float, received_at: float) -> None:
        """One answer: its Date header and our clock (Unix seconds) around the exchange."""
        if date is None or received_at < sent_at:
            return
        server = _seconds(date)
        if server is None:
            return
        low, high = server - received_at, server + 1.0 - sent_at
        widened = _DRIFT * abs(received_at - self._heard_at)
        low_known, high_known = self._low_seconds - widened, self._high_seconds + widened
        if low_known <= high and low <= high_known:
            low, high = max(low, low_known), min(high, high_known)
        self._low_seconds, self._high_seconds, self._heard_at = low, high, received_at
        self.offset_seconds = min(max(0.0, low), high)

    def now(self) -> datetime:
        """UTC, by the server's clock."""
        return datetime.fromtimestamp(self.local() + self.offset_seconds, UTC)
