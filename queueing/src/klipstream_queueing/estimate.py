"""When waiting jobs will start: their queue's slots, simulated with the run times of the past."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from klipstream_api import Priority, RunTimes
from klipstream_queueing.runtimes import merged, quantile
from klipstream_queueing.slots import kept_for_higher

_HIGHEST_FIRST = sorted((priority.value_number for priority in Priority), reverse=True)


def run_seconds(run_times: Sequence[RunTimes], job_type: str, share: float, fallback_seconds: float) -> float:
    """Run time of a type at a quantile; of all types where it never ran; the fallback where nothing ever ran."""
    own = next((entry.buckets for entry in run_times if entry.type == job_type), {})
    for buckets in (own, merged(run_times)):
        seconds = quantile(buckets, share)
        if seconds is not None:
            return seconds
    return fallback_seconds


class Stay(NamedTuple):
    """How long a job holds a slot, from its start or from now on."""

    priority_value: int
    """4 for URGENT down to 1 for LOW; 0 for a job that is gone."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds from now until jobs start; None for what does not start, as the queue is now."""

    line: Sequence[Stay]
    in_line: Sequence[float | None]
    """Of each in line."""
    newcomers: Mapping[int, float | None]
    """Of one that came after all of its priority, by the priority's value."""
    reserved: bool
    """Whether it matters of which priority one is that stands at a place."""

    def at(self, place: int, priority_value: int) -> float | None:
        """Of a job of that priority at a place of the line, from 0: one that stands there, or would come to."""
        if place < len(self.line) and (not self.reserved or self.line[place].priority_value == priority_value):
            return self.in_line[place]
        return self.newcomers[priority_value]


def starts(
    line: Sequence[Stay], running: Sequence[Stay], slots: int, reserved_slots: Mapping[str, int] | None = None
) -> Starts:
    """Simulate the slots: those that run end first, then the jobs in line, in starting order, take slots one after the
    other, as klipstream_queueing.slots has it: one that must leave a slot to higher priorities holds up those behind.
    """
    simulated = _ReservedSlots(slots, reserved_slots, running) if reserved_slots else _Slots(slots, running)
    in_line: list[float | None] = []
    newcomers: dict[int, float | None] = {}
    later = iter(_HIGHEST_FIRST)
    value = next(later)
    for stay in line:
        while value > stay.priority_value:
            newcomers[value] = simulated.room_for(value)
            value = next(later)
        in_line.append(simulated.start(stay))
    newcomers[value] = simulated.room_for(value)
    newcomers.update({lower: simulated.room_for(lower) for lower in later})
    return Starts(line, in_line, newcomers, bool(reserved_slots))


class _Slots:
    """Slots that anybody may have, by the moments at which they get free."""

    def __init__(self, slots: int, running: Sequence[Stay]) -> None:
        ends = sorted(max(0.0, stay.seconds) for stay in running)
        self._free_at = [0.0] * max(0, slots - len(ends)) + ends[max(0, len(ends) - slots) :]
        heapq.heapify(self._free_at)

    def start(self, stay: Stay) -> float | None:
        """Give a job the first slot."""
        if not self._free_at:
            return None
        start = self._free_at[0]
        heapq.heapreplace(self._free_at, start + stay.seconds)
        return start

    def room_for(self, _: int) -> float | None:
        """When a job may start; None where that never comes."""
        return self._free_at[0] if self._free_at else None


class _ReservedSlots:
    """Slots as time goes by, some of them kept for higher priorities. Asked for priorities in descending order, so that
    time never has to go back: where there is room for one, there may be none yet for a lower one, but never the other
    way round."""

    def __init__(self, slots: int, reserved: Mapping[str, int], running: Sequence[Stay]) -> None:
        self._slots, self._reserved, self._now = slots, reserved, 0.0
        self._ends = [(max(0.0, stay.seconds), stay.priority_value) for stay in running]
        heapq.heapify(self._ends)
        self._active = Counter(stay.priority_value for stay in running)
        self._kept: tuple[int, int] | None = None
        """For which priority how many slots are kept, as long as those who run leave it so."""

    def start(self, stay: Stay) -> float | None:
        """Give a job the first slot that it may have."""
        start = self.room_for(stay.priority_value)
        if start is not None:
            heapq.heappush(self._ends, (start + stay.seconds, stay.priority_value))
            self._active[stay.priority_value] += 1
        return start

    def room_for(self, priority_value: int) -> float | None:
        """When a job of that priority may start; None where that never comes."""
        ends = self._ends
        while ends and ends[0][0] <= self._now:
            self._end()
        while self._slots - len(ends) <= self._kept_for(priority_value):
            if not ends:
                return None
            self._end()
        return self._now

    def _kept_for(self, priority_value: int) -> int:
        if self._kept is None or self._kept[0] != priority_value:
            self._kept = priority_value, kept_for_higher(priority_value, self._reserved, self._active)
        return self._kept[1]

    def _end(self) -> None:
        end, priority_value = heapq.heappop(self._ends)
        self._now = max(self._now, end)
        self._active[priority_value] -= 1
        if self._kept is not None and priority_value > self._kept[0]:
            self._kept = None
