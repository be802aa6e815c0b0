"""The status of an AnalysisQueue, folded from what changed since the last write (pure, rule 1)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from klipstream_api import (
    Admitted,
    AnalysisJob,
    AnalysisQueue,
    AnalysisQueueStatus,
    CapacityShortage,
    Condition,
    Phase,
    QueueHeadEntry,
    QueueMode,
    RunTimes,
    Totals,
    names,
)
from klipstream_api.analysisqueue import HEAD_LENGTH
from klipstream_api.meta import rfc3339, with_condition
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_api.worker_template import problems
from klipstream_operator import dead_letters
from klipstream_operator.administration import Answer
from klipstream_operator.capacity import shortages
from klipstream_operator.operations import acknowledged
from klipstream_operator.store import Store
from klipstream_queueing.runtimes import add_run_time


def template_problem(queue: AnalysisQueue, store: Store) -> str | None:
    """What keeps the queue's worker template from being used, as far as it is known."""
    _, refusal = store.refused_templates.get(queue.key, (0, None))
    return "; ".join(problems(queue.spec.worker_template.spec)) or refusal


def may_start(queue: AnalysisQueue, store: Store) -> bool:
    """Whether the queue starts jobs at all now. Draining finishes what was accepted."""
    return (
        queue.status.initialized
        and queue.spec.mode is not QueueMode.PAUSED
        and queue.metadata.deletion_timestamp is None
        and template_problem(queue, store) is None
    )


def free_slots(queue: AnalysisQueue, store: Store, released: int) -> int:
    """Slots that may be reserved; none while more are held than a lowered limit allows."""
    if not may_start(queue, store):
        return 0
    return max(0, queue.spec.max_concurrent_jobs - (len(queue.status.admitted) - released))


def active_by_priority(queue: AnalysisQueue, store: Store, released: Sequence[Admitted]) -> Counter[int]:
    """How many slots each priority holds, by its value; 0 stands for jobs that were deleted."""
    gone = {(entry.uid, entry.attempt) for entry in released}
    jobs = (store.jobs.get(e.uid) for e in queue.status.admitted if (e.uid, e.attempt) not in gone)
    return Counter(job.spec.priority.value_number if job is not None else 0 for job in jobs)


def fold(
    queue: AnalysisQueue,
    store: Store,
    released: Sequence[Admitted],
    reserved: Sequence[Admitted],
    asked: Answer,
    now: datetime,
) -> AnalysisQueueStatus:
    """The queue's next status: reservations, totals of the released ones, counters, head, answers, conditions."""
    old = queue.status
    gone = {(entry.uid, entry.attempt) for entry in released}
    kept = tuple(entry for entry in old.admitted if (entry.uid, entry.attempt) not in gone)
    totals, run_times = _count(old.totals, old.run_times, store, released)
    totals = _count_waits(totals, store, reserved, now)
    dead = store.dead_letters[queue.key]
    replays = tuple(dead_letters.advance(replay, dead, store.jobs) for replay in old.replays)
    admitted = (*kept, *reserved)
    queued = store.queued(queue.key, admitted)
    status = old.model_copy(
        update={
            "observed_generation": queue.metadata.generation,
            "admitted": admitted,
            "active": len(admitted),
            "queued": queued,
            "backing_off": store.phases[queue.key][Phase.BACKING_OFF],
            "dead_lettered": sum(len(uids) for uids in dead.values()),
            "dead_letter_groups": dead_letters.groups(dead, store.jobs),
            "replays": replays if asked.replay is None else dead_letters.with_replay(replays, asked.replay),
            "operations": acknowledged(queue, asked.outcomes, now),
            "capacity": _capacity(queue, store, released, kept, reserved, now),
            "selector": f"{names.QUEUE_LABEL}={queue.metadata.name}",
            "head": _head(queue, store),
            "totals": totals,
            "run_times": run_times,
        }
    )
    conditions = _conditions(queue, status, template_problem(queue, store), now)
    return status if conditions == status.conditions else status.model_copy(update={"conditions": conditions})


def _capacity(
    queue: AnalysisQueue,
    store: Store,
    released: Sequence[Admitted],
    kept: Sequence[Admitted],
    reserved: Sequence[Admitted],
    now: datetime,
) -> tuple[CapacityShortage, ...]:
    return shortages(
        queue,
        [(store.jobs[e.uid], store.attempt((e.uid, e.attempt))) for e in released if e.uid in store.jobs],
        [store.jobs[e.uid] for e in reserved],
        {e.uid: store.attempt((e.uid, e.attempt)) for e in kept},
        now,
    )


def _count_waits(totals: Totals, store: Store, reserved: Sequence[Admitted], now: datetime) -> Totals:
    """Only first attempts: what a retry waits for is mostly its delay."""
    waits = []
    for entry in reserved:
        job = store.jobs[entry.uid]
        since = max(filter(None, (job.status.queued_at, job.spec.not_before)), default=None)
        if entry.attempt == 1 and job.status.attempt == 0 and since is not None:
            waits.append(max(0.0, (now - since).total_seconds()))
    if not waits:
        return totals
    changes = {"started": totals.started + len(waits), "wait_seconds": round(totals.wait_seconds + sum(waits), 3)}
    return totals.model_copy(update=changes)


def _count(
    totals: Totals, run_times: tuple[RunTimes, ...], store: Store, released: Sequence[Admitted]
) -> tuple[Totals, tuple[RunTimes, ...]]:
    """Totals change in the write that removes the reservation, so that each attempt counts once."""
    if not released:
        return totals, run_times
    counts = totals.model_dump()
    for entry in released:
        job = store.jobs.get(entry.uid)
        if job is None or job.status.phase in ACTIVE_PHASES:
            # Given back for want of a node: the attempt goes on later.
            continue
        if job.status.attempt < entry.attempt or job.status.phase is Phase.CANCELLED:
            counts["cancelled"] += 1
        elif job.status.phase is Phase.SUCCEEDED:
            counts["succeeded"] += 1
            seconds = run_seconds(job)
            counts["run_seconds"] = round(counts["run_seconds"] + seconds, 3)
            run_times = add_run_time(run_times, job.spec.type or "", seconds)
        elif job.status.phase is Phase.FAILED:
            counts["failed"] += 1
        else:
            counts["retried"] += 1
    return Totals(**counts), run_times


def run_seconds(job: AnalysisJob) -> float:
    """Run time of the last attempt in seconds, from the creation of its Job to its end."""
    if job.status.started_at is None or job.status.finished_at is None:
        return 0.0
    return max(0.0, (job.status.finished_at - job.status.started_at).total_seconds())


def _head(queue: AnalysisQueue, store: Store) -> tuple[QueueHeadEntry, ...]:
    """Entries that stay as they are are taken over: a head changes by few of them."""
    known = {entry.name: entry for entry in queue.status.head}
    entries = []
    for rank in store.backlogs[queue.key].first(HEAD_LENGTH):
        job = store.jobs[rank.uid]
        name, priority, queued_at = job.metadata.name, job.spec.priority, job.status.queued_at
        entry = known.get(name)
        if entry is None or entry.priority is not priority or entry.queued_at != queued_at:
            entry = QueueHeadEntry(name=name, priority=priority, queued_at=queued_at)
        entries.append(entry)
    return tuple(entries)


def _conditions(
    queue: AnalysisQueue, status: AnalysisQueueStatus, wrong: str | None, now: datetime
) -> tuple[Condition, ...]:
    ready = f"Nothing starts: {wrong}. Mend spec.workerTemplate." if wrong else "Jobs are taken and started."
    reason = "InvalidWorkerTemplate" if wrong else "Ready"
    kept = sum((queue.spec.reserved_slots or {}).values())
    if not wrong and kept >= queue.spec.max_concurrent_jobs > 0:
        ready = f"reservedSlots keeps all {queue.spec.max_concurrent_jobs} slots for higher priorities."
        reason = "AllSlotsReserved"
    conditions = with_condition(status.conditions, "Ready", _truth(wrong is None), reason, ready, now)
    full = status.queued >= queue.spec.max_queue_size
    room = "New jobs are refused until some have started; spec.maxQueueSize is the bound." if full else "There is room."
    conditions = with_condition(conditions, "Full", _truth(full), "QueueFull" if full else "HasRoom", room, now)
    draining = queue.spec.mode is QueueMode.DRAINING
    short = status.capacity[0] if status.capacity else None
    reason = "NoNodeFits" if short is not None else "Available"
    message = "Started jobs found a node."
    if short is not None:
        message = (
            f"{short.message} One job at a time tries again, next at {rfc3339(short.next_try_at)}."
            " Add nodes, or lower the resources of the worker."
        )
    conditions = with_condition(conditions, "CapacityAvailable", _truth(short is None), reason, message, now)
    drained = draining and status.active == 0 and status.queued == 0 and status.backing_off == 0
    reason = "Drained" if drained else "Draining" if draining else "NotDraining"
    message = {
        "Drained": "All accepted jobs are finished. Set spec.mode to Running to take new ones.",
        "Draining": "New jobs are refused; the accepted ones are being finished.",
        "NotDraining": "The queue is not draining.",
    }[reason]
    return with_condition(conditions, "Drained", _truth(drained), reason, message, now)


def _truth(value: bool) -> Literal["True", "False"]:
    return "True" if value else "False"
