"""Slots: reserved too early, too many, released too early."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from klipsim.planted.bug import Bug, Swaps, swap
from klipstream_api import AnalysisQueue, AnalysisQueueStatus
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator import lifecycle, queue_status, queue_writer
from klipstream_operator.queue_writer import QueueWriter
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.statuses import next_attempt
from klipstream_operator.stops import gives_back
from klipstream_operator.store import Store
from klipstream_operator.workload import AttemptView, PodView


def _deleted_frees_at_once() -> Swaps:
    releasable = Store.releasable

    def at_once(self: Store, uid: str, attempt: int) -> bool:
        return uid not in self.jobs or releasable(self, uid, attempt)

    return [swap(Store, "releasable", at_once)]


def _released_unsettled() -> Swaps:
    return [swap(Store, "releasable", lambda self, uid, attempt: self.attempt((uid, attempt)).over)]


def _given_back_before_suspended() -> Swaps:
    releasable = Store.releasable

    def early(self: Store, uid: str, attempt: int) -> bool:
        job = self.jobs.get(uid)
        stop = job.status.stop if job is not None and job.status.phase in ACTIVE_PHASES else None
        return (stop is not None and gives_back(stop, attempt)) or releasable(self, uid, attempt)

    return [swap(Store, "releasable", early)]


def _terminating_counts_as_ended() -> Swaps:
    ended = property(lambda self: self.phase in ("Succeeded", "Failed") or self.deleted_at is not None)
    return [swap(PodView, "ended", ended)]


def _suspended_counts_as_over() -> Swaps:
    over = AttemptView.over.fget  # type: ignore[attr-defined]
    suspended = property(lambda view: (view.job is not None and view.job.suspend) or over(view))
    return [swap(AttemptView, "over", suspended), swap(AttemptView, "end_unseen", False)]


def _one_too_many() -> Swaps:
    free_slots = queue_status.free_slots

    def more(queue: AnalysisQueue, store: Store, released: int) -> int:
        return free_slots(queue, store, released) + queue_status.may_start(queue, store)

    return [swap(queue_writer, "free_slots", more)]


def _lowered_limit_ignored() -> Swaps:
    free_slots, highest = queue_status.free_slots, dict[str, int]()

    def as_ever(queue: AnalysisQueue, store: Store, released: int) -> int:
        uid = queue.metadata.uid
        limit = highest[uid] = max(highest.get(uid, 0), queue.spec.max_concurrent_jobs)
        spec = queue.spec.model_copy(update={"max_concurrent_jobs": limit})
        return free_slots(queue.model_copy(update={"spec": spec}), store, released)

    return [swap(queue_writer, "free_slots", as_ever)]


def _paused_ignored() -> Swaps:
    def may_start(queue: AnalysisQueue, store: Store) -> bool:
        return queue.status.initialized and queue_status.template_problem(queue, store) is None

    return [swap(queue_status, "may_start", may_start)]


def _launched_before_committed() -> Swaps:
    reserved, pick = Store.reserved, QueueWriter._pick
    told: set[str] = set()

    async def reconcile(self: Reconciler, uid: str) -> None:
        self.store.assumed.discard(uid)
        await reconciled(self, uid)

    reconciled = Reconciler.reconcile

    def with_assumed(self: Store, uid: str) -> frozenset[int]:
        job = self.jobs.get(uid)
        return reserved(self, uid) | ({next_attempt(job.status)} if job is not None and uid in told else set())

    def pick_and_tell(self: QueueWriter, *args: Any) -> Any:
        picked = pick(self, *args)
        for rank in picked:
            told.add(rank.uid)
            self.store.on_job(rank.uid)
        return picked

    return [
        swap(Store, "reserved", with_assumed),
        swap(QueueWriter, "_pick", pick_and_tell),
        swap(Reconciler, "reconcile", reconcile),
    ]


def _not_looked_over() -> Swaps:
    async def as_if_nothing_ran(queue: AnalysisQueue, *_: Any) -> AnalysisQueueStatus:
        return queue.status.model_copy(update={"initialized": True})

    return [swap(queue_writer, "initial_status", as_if_nothing_ran)]


def _name_not_occupied() -> Swaps:
    give_up = lifecycle._give_up_unused

    def let_go(job: Any, attempt: int, view: AttemptView, now: datetime) -> lifecycle.Step:
        if view.job is None and not view.job_gone:
            return lifecycle.ReadLive(attempt)
        return give_up(job, attempt, view, now)

    return [swap(lifecycle, "_give_up_unused", let_go)]


def _resumed_unreserved() -> Swaps:
    go_on = lifecycle._go_on
    return [swap(lifecycle, "_go_on", lambda job, reserved, view, now: go_on(job, True, view, now))]


def _same_attempt_again() -> Swaps:
    return [swap(queue_writer, "next_attempt", lambda status: max(1, status.attempt))]


BUGS = (
    Bug("the slot of a deleted job is released while its pod runs", ("released-early",), 1241, _deleted_frees_at_once),
    Bug("a slot is released before its attempt is settled",
        ("released-early", "reserved-first", "unfinished", "waiting-only", "overcommit"), 1, _released_unsettled),
    Bug("a slot is given back before the Job is suspended", ("released-early",), 1, _given_back_before_suspended),
    Bug("a terminating pod counts as ended", ("released-early", "settled"), 975, _terminating_counts_as_ended),
    Bug("a suspended Job counts as over while its pod ends", ("released-early", "settled"), 975,
        _suspended_counts_as_over),
    Bug("one slot too many", ("overcommit", "limit"), 0, _one_too_many),
    Bug("a lowered limit is ignored", ("overcommit", "limit"), 8, _lowered_limit_ignored),
    Bug("Paused is ignored", ("paused",), 15, _paused_ignored),
    Bug("a Job is created before its reservation is committed", ("reserved-first",), 0, _launched_before_committed),
    Bug("a new queue is not looked over", ("limit", "one-pod", "one-reservation"), 33, _not_looked_over),
    Bug("a reservation is given up without occupying the name", ("name-occupied",), 25, _name_not_occupied),
    Bug("an attempt is resumed without a reservation", ("reserved-first",), 1, _resumed_unreserved),
    Bug("a retry has the number of the attempt before", ("attempt-once", "one-job"), 0, _same_attempt_again),
)  # fmt: skip
