"""Wake-ups that are lost: what nobody looks at again never finishes, since these runs hardly ever sweep."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from klipsim.planted.bug import Bug, Swaps, swap
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.phases import FINISHED_PHASES
from klipstream_operator import lifecycle, queue_writer
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.store import Store


def _not_missed() -> Swaps:
    def keep_all(*_: Any) -> None:
        """The watch would tell of each deletion, somebody thinks."""

    return [swap(Store, "keep_listed_jobs", keep_all), swap(Store, "keep_listed_workloads", keep_all)]


def _first_of_all_lanes() -> Swaps:
    def first(queue: AnalysisQueue, now: datetime) -> datetime | None:
        moment = min((entry.next_try_at for entry in queue.status.capacity if entry.trying is None), default=None)
        return None if moment is None or moment <= now else moment

    return [swap(queue_writer, "next_try", first)]


def _settled_for_good() -> Swaps:
    settled = lifecycle.is_settled

    def for_good(job: AnalysisJob, reserved: frozenset[int]) -> bool:
        return settled(job, reserved) or (job.status.phase in FINISHED_PHASES and not reserved)

    return [swap(lifecycle, "is_settled", for_good)]


def _forgotten_after_a_failure() -> Swaps:
    guarded = Reconciler._reconcile_guarded

    async def once(self: Reconciler, uid: str) -> None:
        due = dict(self._due)
        await guarded(self, uid)
        if self._failures.get(uid):
            self._due = due  # a timer that is not listed is void

    return [swap(Reconciler, "_reconcile_guarded", once)]


BUGS = (
    Bug("a deletion that a watch did not tell of is not noticed", ("unfinished",), 297, _not_missed),
    Bug("a lane that is due keeps the others from being tried", ("unfinished",), 308, _first_of_all_lanes),
    Bug("a finished job is never looked at again", ("unfinished",), 7, _settled_for_good),
    Bug("a job that could not be written is not tried again", ("unfinished",), 59, _forgotten_after_a_failure),
)
