"""When waiting jobs start and finish: the queue's slots, simulated with the run times of the past (pure).

The rules are those of klipstream_queueing.outlook; here they are applied to a line that is kept up to date.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, Priority, QueueMode
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_gateway.cache import Cache
from klipstream_queueing.estimate import Starts
from klipstream_queueing.order import Rank
from klipstream_queueing.outlook import (
    CAUTIOUS,
    MEDIAN,
    Outlook,
    basis_of,
    expected_rank,
    expected_starts,
    left_seconds,
    usual_seconds,
)

FRESH_SECONDS = 2.0
MANY_JOBS = 500
MANY_FRESH_SECONDS = 1.0
"""With so many jobs in line a simulation serves for that long, whatever changes; positions are exact all the same."""
LAST_IN_LINE = Rank(-Priority.NORMAL.value_number, sys.maxsize, "")
"""A job of normal priority that is submitted now: behind all that are as urgent, before those of low priority."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Start times by position, for both quantiles, as of a moment."""

    at: datetime
    change: int
    many: bool
    starts: Mapping[float, Starts]


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
        basis, runs = basis_of(queue, job.spec.type or "")
        if job.status.phase in ACTIVE_PHASES:
            left = {share: left_seconds(queue, job, share, self.now()) for share in (MEDIAN, CAUTIOUS)}
            return Outlook(None, basis, runs, 0.0, 0.0, left[MEDIAN], left[CAUTIOUS])
        if any(entry.uid == job.uid for entry in queue.status.admitted):
            # It has its slot, and starts at this moment.
            usual = {share: usual_seconds(queue, job, share) for share in (MEDIAN, CAUTIOUS)}
            return Outlook(None, basis, runs, 0.0, 0.0, usual[MEDIAN], usual[CAUTIOUS])
        waits = job.uid in self.cache.line(queue.metadata.name)
        rank = expected_rank(job, priority)
        position = self._position(queue, rank) if waits or priority is not None else None
        if position is None or queue.spec.mode is QueueMode.PAUSED:
            return Outlook(position, basis, runs)
        median, cautious = (
            self._plan(queue).starts[share].at(position - 1, rank.priority_value) for share in (MEDIAN, CAUTIOUS)
        )
        if median is None or cautious is None:
            return Outlook(position, basis, runs)
        ends = (median + usual_seconds(queue, job, MEDIAN), cautious + usual_seconds(queue, job, CAUTIOUS))
        return Outlook(position, basis, runs, median, cautious, *ends)

    def next_wait_seconds(self, queue: AnalysisQueue) -> float | None:
        """The wait of a NORMAL job that came now, by the median; None where nothing starts."""
        if queue.spec.mode is QueueMode.PAUSED:
            return None
        place = self._position(queue, LAST_IN_LINE) - 1
        return self._plan(queue).starts[MEDIAN].at(place, LAST_IN_LINE.priority_value)

    def _position(self, queue: AnalysisQueue, rank: Rank) -> int:
        """The place of a rank among those that wait for a slot; those that have one already are ahead of nobody."""
        line = self.cache.line(queue.metadata.name)
        held = (line.rank(entry.uid) for entry in queue.status.admitted if entry.uid != rank.uid)
        return line.position_of(rank) - sum(each is not None and each < rank for each in held)

    def _plan(self, queue: AnalysisQueue) -> _Plan:
        name, now = queue.metadata.name, self.now()
        plan, change = self._plans.get(name), self.cache.changed[name]
        if plan is not None:
            age_seconds = (now - plan.at).total_seconds()
            if age_seconds < (FRESH_SECONDS if plan.change == change else MANY_FRESH_SECONDS if plan.many else 0.0):
                return plan
        # A job in line that holds a reservation already has its slot counted.
        admitted = {entry.uid for entry in queue.status.admitted}
        waiting = [rank for rank in self.cache.lines[name].ranks if rank.uid not in admitted]
        starts = {share: expected_starts(queue, waiting, self.cache.jobs, share, now) for share in (MEDIAN, CAUTIOUS)}
        self._plans[name] = _Plan(now, change, len(waiting) >= MANY_JOBS, starts)
        return self._plans[name]
