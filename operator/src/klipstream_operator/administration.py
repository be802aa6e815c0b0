"""What administrative requests of a queue come to, counted from what the operator knows (pure)."""

from dataclasses import dataclass
from datetime import datetime

from klipstream_api import AnalysisQueue, GroupReplay, OperationName, Phase
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator import dead_letters
from klipstream_operator.operations import Outcome, confirm_clear, pending
from klipstream_operator.stops import is_stuck
from klipstream_operator.store import Store


@dataclass(frozen=True, slots=True)
class Answer:
    """The requests that are answered in the queue's next write."""

    outcomes: dict[OperationName, Outcome]
    replay: GroupReplay | None = None
    """The replay of a group that begins."""


def answer(queue: AnalysisQueue, store: Store, repaired: int | None, now: datetime) -> Answer:
    """Answer what is asked of the queue.

    `repaired` is what a sweep that ran for a request to reconcile mended; without it that request stays open.
    """
    outcomes: dict[OperationName, Outcome] = {}
    replay = None
    for name, request in pending(queue).items():
        match name:
            case OperationName.CLEAR:
                outcomes[name] = _clear(queue, request, store)
            case OperationName.CLEAR_STUCK:
                outcomes[name] = _clear_stuck(queue, store, now)
            case OperationName.RECONCILE:
                if repaired is not None:
                    outcomes[name] = Outcome(
                        repaired, f"Everything was read again; {repaired} objects had been missed."
                    )
            case OperationName.RESTART:
                outcomes[name] = Outcome(1, "The operator forgets what it knows and reads everything again.")
            case OperationName.REPLAY:
                dead = store.dead_letters[queue.key]
                replay, outcomes[name] = dead_letters.begin(queue, request, dead, store.jobs, now)
    return Answer(outcomes, replay)


def _clear(queue: AnalysisQueue, request: str, store: Store) -> Outcome:
    if (refusal := confirm_clear(queue, request)) is not None:
        return Outcome(0, refusal, refused=True)
    waiting = [
        job
        for job in store.of_queue(queue.key)
        if job.status.phase in (Phase.QUEUED, Phase.BACKING_OFF) and job.uid not in store.reservations
    ]
    return Outcome(len(waiting), f"{len(waiting)} waiting jobs are cancelled; what runs goes on.")


def _clear_stuck(queue: AnalysisQueue, store: Store, now: datetime) -> Outcome:
    stuck = [
        job
        for job in store.of_queue(queue.key)
        if job.status.phase in ACTIVE_PHASES
        and is_stuck(job, queue, store.attempt((job.uid, job.status.attempt)), store.progress.get(job.uid), now)
    ]
    return Outcome(len(stuck), f"{len(stuck)} attempts without any sign of getting on are ended.")
