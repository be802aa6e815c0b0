"""Seconds that remain, from the rate at which the percentage has risen lately."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 120.0
WINDOW_SHARE = 0.25
"""Of the time since the start: the longer it has run, the less a single slow step says."""
LEAST_SECONDS = 3.0
LEAST_GAIN = 0.5
"""Percentage points that must have been gained before anything is said."""
SAMPLES_AT_MOST = 256


class Estimator:
    """Watches a rising percentage; times are of a monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._samples: deque[tuple[float, float]] = deque([(now, 0.0)], maxlen=SAMPLES_AT_MOST)
        self._skipped = 0.0

    def observe(self, now: float, percentage: float, *, skipped: bool = False) -> None:
        """The percentage at a moment; `skipped` where it rose without work, as by a checkpoint."""
        last_at, last = self._samples[-1]
        if skipped:
            self._skipped += max(0.0, percentage - self._skipped - last)
        worked = percentage - self._skipped
        if len(self._samples) > 1 and now - last_at < WINDOW_SECONDS / SAMPLES_AT_MOST:
            self._samples[-1] = (last_at, worked)
            return
        self._samples.append((now, worked))

    def remaining_seconds(self, now: float) -> float | None:
        """Seconds until 100 %; None as long as too little has happened to tell."""
        if len(self._samples) < 2:
            return None
        since = now - max(WINDOW_SECONDS, (now - self._began) * WINDOW_SHARE)
        last_at, last = self._samples[-1]
        first_at, first = next(((at, worked) for at, worked in self._samples if at >= since), self._samples[-2])
        gained, took = last - first, max(now, last_at) - first_at
        if gained < LEAST_GAIN or took < LEAST_SECONDS:
            return None
        left = 100.0 - self._skipped - last
        return max(0.0, left * took / gained)
