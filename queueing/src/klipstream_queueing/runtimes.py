"""Run times of past attempts as bounded histograms, and the quantiles read from them."""

import math
from collections.abc import Iterable, Mapping

from klipstream_api import RunTimes

BUCKET_RATIO = 1.1
"""Neighbouring buckets differ by a tenth, so a quantile is off by at most five percent."""
HIGHEST_BUCKET = 140
"""Around a week of seconds."""
TYPES_KEPT = 16
SAMPLES_KEPT = 1000
"""Above it all counts are halved, so that the estimate follows what the workers do now."""


def bucket_of(seconds: float) -> int:
    """Number of the bucket that holds a run time in seconds; 0 for a second and less."""
    if seconds <= 1.0:
        return 0
    return min(HIGHEST_BUCKET, round(math.log(seconds, BUCKET_RATIO)))


def seconds_of(bucket: int) -> float:
    """The run time in seconds that a bucket stands for."""
    return float(BUCKET_RATIO**bucket)


def add_run_time(run_times: Iterable[RunTimes], job_type: str, seconds: float) -> tuple[RunTimes, ...]:
    """The histograms with one more run time of a type, the most recent type last.

    Beyond sixteen types the one that ran longest ago is forgotten.
    """
    buckets: dict[str, int] = {}
    others = []
    for entry in run_times:
        if entry.type == job_type:
            buckets = dict(entry.buckets)
        else:
            others.append(entry)
    key = str(bucket_of(seconds))
    buckets[key] = buckets.get(key, 0) + 1
    if sum(buckets.values()) > SAMPLES_KEPT:
        buckets = {number: count // 2 for number, count in buckets.items() if count > 1}
    return (*others[-(TYPES_KEPT - 1) :], RunTimes(type=job_type, buckets=buckets))


def merged(run_times: Iterable[RunTimes]) -> dict[str, int]:
    """One histogram over all types, for a type that never ran."""
    total: dict[str, int] = {}
    for entry in run_times:
        for number, count in entry.buckets.items():
            total[number] = total.get(number, 0) + count
    return total


def quantile(buckets: Mapping[str, int], share: float) -> float | None:
    """The run time in seconds that a share (0 to 1) of the runs did not exceed; None without any run."""
    total = sum(buckets.values())
    if total == 0:
        return None
    rest = share * total
    for number in sorted(int(key) for key in buckets):
        rest -= buckets[str(number)]
        if rest <= 0:
            return seconds_of(number)
    return seconds_of(max(int(key) for key in buckets))
