"""When waiting jobs start and finish: the queue's slots, simulated with the run times of the past (pure)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, Priority, QueueMode
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_gateway.cache import Cache, expected_rank
from klipstream_queueing.estimate import run_seconds, start_seconds
from klipstream_queueing.order import Rank

MEDIAN, CAUTIOUS = 0.5, 0.9
FRESH_SECONDS = 2.0
MANY_JOBS = 500
MANY_FRESH_SECONDS = 1.0
"""With so many jobs in line a simulation serves for that long, whatever changes; positions are exact all the same."""
ENOUGH_SAMPLES = 5


class Basis(StrEnum):
    """What an estimate rests on."""

    HISTORY = "history"
    """At least five finished runs of the job's own type."""
    FEW_RUNS = "few-runs"
    """Fewer runs of its type, or runs of other types only."""
    TIMEOUT = "timeout"
    """Nothing has ever run in the queue: its time limit stands in, so that it is an upper bound."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a waiting or running job can expect, in seconds from now. None: nothing can be said."""

    position: int | None
    basis: Basis
    samples: int
    start_p50_seconds: float | None = None
    start_p90_seconds: float | None = None
    finish_p50_seconds: float | None = None
    finish_p90_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Start times by position, for both quantiles, as of a moment."""

    at: datetime
    change: int
    many: bool
    starts: Mapping[float, list[float] | None]


@dataclass(slots=True)
class Forecasts:
    """Outlooks from the cache. A simulation is made anew when the queue changed, or two seconds later."""

    cache: Cache
    now: Callable[[], datetime]
    _plans: dict[str, _Plan] = field(default_factory=dict)

    def of(self, job: AnalysisJob, priority: Priority | None = None) -> Outlook | None:
        """The outlook of a job, or the one that it would have at another priority.

        None for finished jobs, and for those that no queue takes.
        """
        name = self.cache.queue_name(job)
        queue = self.cache.queues.get(name) if name is not None else None
        if queue is None or job.status.phase not in (Phase.QUEUED, *ACTIVE_PHASES):
            return None
        basis, samples = _basis(queue, job.spec.type or "")
        if job.status.phase in ACTIVE_PHASES:
            left = {share: _left(job, queue, share, self.now()) for share in (MEDIAN, CAUTIOUS)}
            return Outlook(None, basis, samples, 0.0, 0.0, left[MEDIAN], left[CAUTIOUS])
        line = self.cache.line(queue.metadata.name)
        if job.uid in line and priority is None:
            position = line.position(job.uid)
        elif job.uid in line or priority is not None:
            own = expected_rank(job)
            number = own.negative_priority if priority is None else -priority.value_number
            position = line.position_of(Rank(number, own.sequence, own.uid))
        else:
            position = None
        if position is None or queue.spec.mode is QueueMode.PAUSED:
            return Outlook(position, basis, samples)
        plan = self._plan(queue)
        found: dict[float, tuple[float, float] | None] = {}
        for share, starts in plan.starts.items():
            if starts is None:
                found[share] = None
                continue
            start = starts[min(position, len(starts)) - 1]
            found[share] = (start, start + _own(job, queue, share))
        median, cautious = found[MEDIAN], found[CAUTIOUS]
        if median is None or cautious is None:
            return Outlook(position, basis, samples)
        return Outlook(position, basis, samples, median[0], cautious[0], median[1], cautious[1])

    def next_wait_seconds(self, queue: AnalysisQueue) -> float | None:
        """The wait of a NORMAL job that came now, by the median; None where nothing starts."""
        starts = self._plan(queue).starts[MEDIAN]
        return None if starts is None or queue.spec.mode is QueueMode.PAUSED else starts[-1]

    def _plan(self, queue: AnalysisQueue) -> _Plan:
        name, now = queue.metadata.name, self.now()
        plan, change = self._plans.get(name), self.cache.changed[name]
        if plan is not None:
            age_seconds = (now - plan.at).total_seconds()
            if age_seconds < (FRESH_SECONDS if plan.change == change else MANY_FRESH_SECONDS if plan.many else 0.0):
                return plan
        jobs = self.cache.jobs
        # A job in line that holds a reservation already has its slot counted below.
        admitted = {entry.uid for entry in queue.status.admitted}
        waiting = [jobs[rank.uid] for rank in self.cache.lines[name].ranks if rank.uid not in admitted]
        starts = {
            share: start_seconds(
                _run_times(waiting, queue, share),
                list(_slots_left(queue, jobs, share, now)),
                queue.spec.max_concurrent_jobs,
            )
            for share in (MEDIAN, CAUTIOUS)
        }
        self._plans[name] = _Plan(now, change, len(waiting) >= MANY_JOBS, starts)
        return self._plans[name]


def _slots_left(queue: AnalysisQueue, jobs: Mapping[str, AnalysisJob], share: float, now: datetime) -> Iterable[float]:
    for entry in queue.status.admitted:
        job = jobs.get(entry.uid)
        yield 0.0 if job is None else _left(job, queue, share, now)


def _own(job: AnalysisJob, queue: AnalysisQueue, share: float) -> float:
    limit = job.spec.timeout_seconds or queue.spec.timeout_seconds
    return min(float(limit), run_seconds(queue.status.run_times, job.spec.type or "", share, float(limit)))


def _run_times(jobs: Sequence[AnalysisJob], queue: AnalysisQueue, share: float) -> list[float]:
    """Run times of jobs, worked out once for those that are alike."""
    known: dict[tuple[str | None, int | None], float] = {}
    times = []
    for job in jobs:
        kind = (job.spec.type, job.spec.timeout_seconds)
        if kind not in known:
            known[kind] = _own(job, queue, share)
        times.append(known[kind])
    return times


def _left(job: AnalysisJob, queue: AnalysisQueue, share: float, now: datetime) -> float:
    """Seconds that a running job still takes: the worker's own estimate, else what is usual less what has passed."""
    progress = job.status.progress
    if (
        progress is not None
        and progress.attempt == job.status.attempt
        and progress.estimated_completion_seconds is not None
    ):
        return max(0.0, progress.estimated_completion_seconds - (now - progress.updated_at).total_seconds())
    started = job.status.started_at
    passed = 0.0 if started is None or job.status.phase is Phase.QUEUED else (now - started).total_seconds()
    return max(0.0, _own(job, queue, share) - passed)


def _basis(queue: AnalysisQueue, job_type: str) -> tuple[Basis, int]:
    """What the queue's history knows of a type, and how many runs that are."""
    counts = {entry.type: sum(entry.buckets.values()) for entry in queue.status.run_times}
    own, all_types = counts.get(job_type, 0), sum(counts.values())
    if own >= ENOUGH_SAMPLES:
        return Basis.HISTORY, own
    if all_types:
        return Basis.FEW_RUNS, own or all_types
    return Basis.TIMEOUT, 0
