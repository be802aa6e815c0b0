"""Acceptance, and who comes first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from klipsim.planted.bug import Bug, Swaps, swap
from klipstream_api import AnalysisJob, Phase
from klipstream_api.meta import condition
from klipstream_operator import acceptance, status_writer, statuses, store
from klipstream_operator.queue_writer import QueueWriter
from klipstream_operator.store import Store, version
from klipstream_operator.turnstile import Turnstile
from klipstream_queueing.order import Rank, rank


def _not_before_ignored() -> Swaps:
    waits = Store._waits

    def due(job: AnalysisJob) -> AnalysisJob:
        return job.model_copy(update={"spec": job.spec.model_copy(update={"not_before": None})})

    return [swap(Store, "_waits", lambda self, job, queue, now: waits(self, due(job), queue, now))]


def _priority_ignored() -> Swaps:
    def by_sequence(job: AnalysisJob) -> Rank:
        return rank(job)._replace(negative_priority=-2)

    return [swap(store, "rank", by_sequence), swap(status_writer, "rank", by_sequence)]


def _newest_first() -> Swaps:
    def reversed_rank(job: AnalysisJob) -> Rank:
        mine = rank(job)
        return mine._replace(sequence=-mine.sequence)

    return [swap(store, "rank", reversed_rank), swap(status_writer, "rank", reversed_rank)]


def _place_at_acceptance() -> Swaps:
    return [swap(acceptance, "_place", lambda job, store: job.status.sequence or version(job))]


def _own_job_passed_over() -> Swaps:
    return [swap(QueueWriter, "_let_wait", lambda self, released, now: None)]


def _taken_despite(reason: str) -> Callable[[], Swaps]:
    def swaps() -> Swaps:
        decide = acceptance.decide

        def taken(job: AnalysisJob, store: Store, waiting: Any, now: Any) -> Any:
            status = decide(job, store, waiting, now)
            finished = condition(status.conditions, "Finished")
            if status.phase is Phase.REJECTED and finished is not None and finished.reason == reason:
                assert status.queue_name is not None
                return statuses.accepted(job, status.queue_name, acceptance._place(job, store), now)
            return status

        return [swap(acceptance, "decide", taken)]

    return swaps


def _open_turnstile() -> Swaps:
    @asynccontextmanager
    async def arriving(self: Turnstile, key: Any, rank: Rank) -> AsyncIterator[None]:
        yield

    return [swap(Turnstile, "arriving", arriving)]


BUGS = (
    Bug("notBefore is ignored", ("not-before",), 0, _not_before_ignored),
    Bug("the priority is ignored", ("inversion",), 0, _priority_ignored),
    Bug("the last in comes first", ("inversion",), 0, _newest_first),
    Bug("a job's place is the version at its acceptance", ("fifo",), None, _place_at_acceptance),
    Bug("a slot that is released passes its own job over", ("inversion",), 488, _own_job_passed_over),
    Bug("a draining queue accepts", ("draining",), 7, _taken_despite("QueueDraining")),
    Bug("a full queue accepts", ("full",), 1800, _taken_despite("QueueFull")),
    Bug("acceptances and reservations overtake each other", ("inversion",), 0, _open_turnstile),
)  # fmt: skip
