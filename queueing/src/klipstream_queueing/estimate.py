"""When a waiting job will start and finish: its queue's slots, simulated with the run times of the past."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from klipstream_api import RunTimes
from klipstream_queueing.runtimes import merged, quantile

SIMULATED_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds from now until a job starts and finishes."""

    start_seconds: float
    finish_seconds: float


def run_seconds(run_times: Sequence[RunTimes], job_type: str, share: float, fallback_seconds: float) -> float:
    """Run time of a type at a quantile; of all types where it never ran; the fallback where nothing ever ran."""
    own = next((entry.buckets for entry in run_times if entry.type == job_type), {})
    for buckets in (own, merged(run_times)):
        seconds = quantile(buckets, share)
        if seconds is not None:
            return seconds
    return fallback_seconds


def estimate(
    ahead_seconds: Sequence[float], own_seconds: float, running_left_seconds: Sequence[float], slots: int
) -> Estimate | None:
    """Simulate the slots: those that run end first, then the jobs ahead take the slots one after the other.

    `ahead_seconds` are the run times of the jobs ahead in starting order, `running_left_seconds` what is left
    of those that run. None where the queue has no slot. Beyond ten thousand jobs ahead the rest counts evenly.
    """
    if slots <= 0:
        return None
    ends = sorted(max(0.0, left) for left in running_left_seconds)
    free_at = [0.0] * max(0, slots - len(ends)) + ends[max(0, len(ends) - slots) :]
    heapq.heapify(free_at)
    for seconds in ahead_seconds[:SIMULATED_AT_MOST]:
        heapq.heapreplace(free_at, free_at[0] + seconds)
    rest = sum(ahead_seconds[SIMULATED_AT_MOST:]) / slots
    start = free_at[0] + rest
    return Estimate(start, start + own_seconds)


def start_seconds(
    ahead_seconds: Sequence[float], running_left_seconds: Sequence[float], slots: int
) -> list[float] | None:
    """Seconds from now until each of the jobs in line starts, and, as the last entry, one that came after them.

    As `estimate`, for all positions at once. None where the queue has no slot.
    """
    if slots <= 0:
        return None
    ends = sorted(max(0.0, left) for left in running_left_seconds)
    free_at = [0.0] * max(0, slots - len(ends)) + ends[max(0, len(ends) - slots) :]
    heapq.heapify(free_at)
    starts = []
    for seconds in ahead_seconds:
        starts.append(free_at[0])
        heapq.heapreplace(free_at, free_at[0] + seconds)
    starts.append(free_at[0])
    return starts
