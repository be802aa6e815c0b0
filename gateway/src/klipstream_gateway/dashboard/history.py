"""What the last day was like, from the jobs that are kept: throughput, depth and waits by the hour (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import quantiles

from klipstream_api import AnalysisJob, Phase

HOURS = 24
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour. Waits are those of jobs that first started in it; depth is how many waited at once, at most."""

    begin: datetime
    completed: int
    failed: int
    depth: int
    wait_p50_seconds: float | None
    wait_p90_seconds: float | None


def hours(jobs: Iterable[AnalysisJob], now: datetime, number: int = HOURS) -> tuple[Hour, ...]:
    """The last hours, the oldest first; the last one is not over yet.

    Jobs that were deleted by now are missing: succeeded ones are kept for a week unless the queue says otherwise.
    """
    begin = now.replace(minute=0, second=0, microsecond=0) - HOUR * (number - 1)
    completed, failed = [0] * number, [0] * number
    moves: list[tuple[datetime, int]] = []
    waits: list[list[float]] = [[] for _ in range(number)]

    def slot(moment: datetime) -> int:
        return (moment - begin) // HOUR

    for job in jobs:
        status = job.status
        if status.finished_at is not None and 0 <= (ended := slot(status.finished_at)) < number:
            if status.phase is Phase.SUCCEEDED:
                completed[ended] += 1
            elif status.phase is Phase.FAILED:
                failed[ended] += 1
        if status.queued_at is None:
            continue
        started = first_start(job)
        left = started if started is not None else status.finished_at
        if left is None and status.attempt:
            continue  # the first attempt is not known any more
        moves.append((status.queued_at, 1))
        if left is not None:
            moves.append((max(left, status.queued_at), -1))
        if started is not None and 0 <= slot(started) < number:
            waits[slot(started)].append(max(0.0, (started - status.queued_at).total_seconds()))
    depths = _deepest(moves, begin, number)
    return tuple(
        Hour(begin + HOUR * index, completed[index], failed[index], depths[index], *_quantiles(waits[index]))
        for index in range(number)
    )


def _deepest(moves: list[tuple[datetime, int]], begin: datetime, number: int) -> list[int]:
    """How many waited at once in each hour, at most. Who leaves in the moment in which another comes leaves first."""
    deepest, depth, index = [0] * number, 0, 0
    for moment, change in sorted(moves):
        at = (moment - begin) // HOUR
        if at >= number:
            break
        while index < at:
            index += 1
            deepest[index] = depth
        depth += change
        deepest[index] = max(deepest[index], depth)
    for later in range(index + 1, number):
        deepest[later] = depth
    return deepest


def first_start(job: AnalysisJob) -> datetime | None:
    """When the first attempt after the last submission or replay began, as far as it is known."""
    queued = job.status.queued_at
    starts = [
        each.started_at for each in job.status.attempts
        if each.started_at is not None and (queued is None or each.started_at >= queued)
    ]  # fmt: skip
    known = job.status.attempts and (job.status.attempts[0].attempt == 1 or len(starts) < len(job.status.attempts))
    return min(starts, default=None) if known else None


def _quantiles(values: list[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    if len(values) == 1:
        return values[0], values[0]
    cuts = quantiles(values, n=10, method="inclusive")
    return cuts[4], cuts[8]
