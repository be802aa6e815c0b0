"""What the jobs of one queue can expect: place, start, finish, and what another priority would change."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, Priority, QueueMode
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_queueing.estimate import Starts, Stay, run_seconds, starts
from klipstream_queueing.order import Rank, priority_of

MEDIAN, CAUTIOUS = 0.5, 0.9
ENOUGH_RUNS = 5


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
    """What a job can expect, in seconds from now; None: nothing can be said. The position is None for one that runs."""

    position: int | None
    basis: Basis
    runs: int
    """Finished runs that it rests on."""
    start_p50_seconds: float | None = None
    start_p90_seconds: float | None = None
    finish_p50_seconds: float | None = None
    finish_p90_seconds: float | None = None


def expected_rank(job: AnalysisJob, priority: Priority | None = None) -> Rank:
    """The job's rank, or the one that its acceptance will give it (the version at which it is first seen); at another
    priority where one is given."""
    sequence = job.status.sequence
    number = (priority or priority_of(job)).value_number
    return Rank(-number, int(job.metadata.resource_version or 0) if sequence is None else sequence, job.uid)


def stands_in_line(job: AnalysisJob, now: datetime) -> bool:
    """Whether the job waits for a slot now: queued, due, and not being cancelled."""
    if job.status.phase is not Phase.QUEUED or job.spec.cancel or job.metadata.deletion_timestamp is not None:
        return False
    return job.spec.not_before is None or job.spec.not_before <= now


def basis_of(queue: AnalysisQueue, job_type: str) -> tuple[Basis, int]:
    """What the queue's history knows of a type, and how many runs that are."""
    counts = {entry.type: sum(entry.buckets.values()) for entry in queue.status.run_times}
    own, all_types = counts.get(job_type, 0), sum(counts.values())
    if own >= ENOUGH_RUNS:
        return Basis.HISTORY, own
    if all_types:
        return Basis.FEW_RUNS, own or all_types
    return Basis.TIMEOUT, 0


def usual_seconds(queue: AnalysisQueue, job: AnalysisJob, share: float) -> float:
    """Run time of one attempt at a quantile of the past, and never beyond its time limit."""
    limit = float(job.spec.timeout_seconds or queue.spec.timeout_seconds)
    return min(limit, run_seconds(queue.status.run_times, job.spec.type or "", share, limit))


def left_seconds(queue: AnalysisQueue, job: AnalysisJob, share: float, now: datetime) -> float:
    """What a running job still takes: its worker's own estimate, else what is usual less what has passed."""
    progress = job.status.progress
    if (
        progress is not None
        and progress.attempt == job.status.attempt
        and progress.estimated_completion_seconds is not None
    ):
        return max(0.0, progress.estimated_completion_seconds - (now - progress.updated_at).total_seconds())
    started = job.status.started_at
    runs = started is not None and job.status.phase in ACTIVE_PHASES
    passed = (now - started).total_seconds() if runs and started is not None else 0.0
    return max(0.0, usual_seconds(queue, job, share) - passed)


@dataclass(slots=True)
class QueueOutlook:
    """One queue and its jobs at one moment. `jobs` are all unfinished ones of the queue.

    Lanes without room are not simulated.
    """

    queue: AnalysisQueue
    jobs: Mapping[str, AnalysisJob]
    """By uid."""
    now: datetime
    line: list[Rank] = field(init=False)
    """Those that wait, the next one first."""
    _starts: dict[float, Starts] = field(init=False)

    def __post_init__(self) -> None:
        # One that waits and holds a reservation already has its slot counted.
        admitted = {entry.uid for entry in self.queue.status.admitted}
        waiting = (job for job in self.jobs.values() if job.uid not in admitted and stands_in_line(job, self.now))
        self.line = sorted(map(expected_rank, waiting))
        self._starts = {share: self._simulated(self.line, share) for share in (MEDIAN, CAUTIOUS)}

    def of(self, job: AnalysisJob) -> Outlook | None:
        """The outlook of a job of the queue; None for those that are finished."""
        phase = job.status.phase
        basis, runs = basis_of(self.queue, job.spec.type or "")
        if phase in ACTIVE_PHASES:
            left = [left_seconds(self.queue, job, share, self.now) for share in (MEDIAN, CAUTIOUS)]
            return Outlook(None, basis, runs, 0.0, 0.0, left[0], left[1])
        if phase not in (Phase.QUEUED, Phase.BACKING_OFF):
            return None
        own = expected_rank(job)
        place = bisect_left(self.line, own)
        if place < len(self.line) and self.line[place] == own:
            return self._at(job, place, self._starts)
        due = job.status.next_attempt_at if phase is Phase.BACKING_OFF else job.spec.not_before
        wait = 0.0 if due is None else max(0.0, (due - self.now).total_seconds())
        return self._at(job, place, self._starts, not_before_seconds=wait, in_line=False)

    def at_priority(self, job: AnalysisJob, priority: Priority) -> Outlook | None:
        """The outlook that a waiting job would have at another priority; None for one that does not wait in line."""
        own = expected_rank(job)
        others = [rank for rank in self.line if rank.uid != own.uid]
        if len(others) == len(self.line):
            return None
        place = bisect_left(others, expected_rank(job, priority))
        ahead = {share: self._simulated(others[:place], share) for share in (MEDIAN, CAUTIOUS)}
        return self._at(job, place, ahead, priority=priority)

    def of_new(self, job: AnalysisJob) -> Outlook:
        """The outlook that a job would have if it were accepted now."""
        last = Rank(-priority_of(job).value_number, max((rank.sequence for rank in self.line), default=0) + 1, "")
        return self._at(job, bisect_left(self.line, last), self._starts)

    def ahead_of(self, job: AnalysisJob) -> Sequence[Rank]:
        """Those that start before a waiting job, the next one first."""
        return self.line[: bisect_left(self.line, expected_rank(job))]

    def next_slot_seconds(self) -> float | None:
        """Until a slot is free for the first in line, or for a job of normal priority where there is none, by the
        median; None where none will be."""
        first = self.line[0].priority_value if self.line else Priority.NORMAL.value_number
        return None if self._stands_still else self._starts[MEDIAN].at(0, first)

    @property
    def _stands_still(self) -> bool:
        return self.queue.spec.mode is QueueMode.PAUSED

    def _at(
        self, job: AnalysisJob, place: int, starts: Mapping[float, Starts], not_before_seconds: float = 0.0,
        in_line: bool = True, priority: Priority | None = None,
    ) -> Outlook:  # fmt: skip
        basis, runs = basis_of(self.queue, job.spec.type or "")
        position = place + 1 if in_line else None
        value = (priority or priority_of(job)).value_number
        median, cautious = (starts[share].at(place, value) for share in (MEDIAN, CAUTIOUS))
        if median is None or cautious is None or self._stands_still:
            return Outlook(position, basis, runs)
        begins = [max(not_before_seconds, start) for start in (median, cautious)]
        ends = [
            begin + usual_seconds(self.queue, job, share)
            for begin, share in zip(begins, (MEDIAN, CAUTIOUS), strict=True)
        ]
        return Outlook(position, basis, runs, begins[0], begins[1], ends[0], ends[1])

    def _simulated(self, line: Iterable[Rank], share: float) -> Starts:
        return expected_starts(self.queue, line, self.jobs, share, self.now)


def expected_starts(
    queue: AnalysisQueue, line: Iterable[Rank], jobs: Mapping[str, AnalysisJob], share: float, now: datetime
) -> Starts:
    """When those in line start, with what is usual at a quantile. `line` are those without a slot, in order; `jobs`,
    by uid, are all of them and those that hold one."""
    known: dict[tuple[str | None, int | None], float] = {}
    stays = []
    for rank in line:
        job = jobs[rank.uid]
        kind = (job.spec.type, job.spec.timeout_seconds)
        if kind not in known:
            known[kind] = usual_seconds(queue, job, share)
        stays.append(Stay(rank.priority_value, known[kind]))
    running = [
        Stay(0, 0.0) if (held := jobs.get(entry.uid)) is None
        else Stay(held.spec.priority.value_number, left_seconds(queue, held, share, now))
        for entry in queue.status.admitted
    ]  # fmt: skip
    return starts(stays, running, queue.spec.max_concurrent_jobs, queue.spec.reserved_slots)
