"""What the cluster has no room for: which sizes wait, and when one job of each tries again (pure)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from klipstream_api import AnalysisJob, AnalysisQueue, CapacityShortage, StopReason
from klipstream_api.analysisqueue import SHORTAGES_AT_MOST
from klipstream_operator.failures import missing_resources
from klipstream_operator.workload import AttemptView
from klipstream_queueing.backlog import DEFAULT_LANE


def shape_of(job: AnalysisJob) -> str:
    """The size of a job: jobs of one queue that ask for the same resources share it, and a lane of the backlog."""
    if job.spec.resources is None:
        return DEFAULT_LANE
    return hashlib.sha256(json.dumps(job.spec.resources.to_wire(), sort_keys=True).encode()).hexdigest()[:12]


def open_lanes(queue: AnalysisQueue, taken: Mapping[str, str], now: datetime) -> Callable[[str], bool]:
    """Which sizes may start: those that fit, and of the others one job when its time has come.

    `taken` holds the lane of each job that is being reserved by uid; it is read at each call.
    """
    short = {entry.shape: entry for entry in queue.status.capacity}

    def is_open(lane: str) -> bool:
        entry = short.get(lane)
        if entry is None:
            return True
        return entry.trying is None and entry.next_try_at <= now and lane not in taken.values()

    return is_open


def next_try(queue: AnalysisQueue, now: datetime) -> datetime | None:
    """When the next lane opens for a try; None where none will by itself. One that is open may have no job in it."""
    moments = (entry.next_try_at for entry in queue.status.capacity if entry.trying is None)
    return min((moment for moment in moments if moment > now), default=None)


def shortages(
    queue: AnalysisQueue,
    released: Iterable[tuple[AnalysisJob, AttemptView]],
    reserved: Iterable[AnalysisJob],
    held: Mapping[str, AttemptView],
    now: datetime,
) -> tuple[CapacityShortage, ...]:
    """The queue's shortages after this turn.

    `released` gave their slots up in it, `reserved` got one, `held` is what runs for each job (by uid) that holds
    one. A change of the queue's spec is a new beginning: its worker may be smaller now.
    """
    if queue.status.observed_generation != queue.metadata.generation:
        entries: dict[str, CapacityShortage] = {}
    else:
        entries = {entry.shape: entry for entry in queue.status.capacity}
    for job, view in released:
        shape = shape_of(job)
        stop = job.status.stop
        if stop is not None and stop.reason is StopReason.UNSCHEDULABLE and view.ended_pod is None:
            entries[shape] = _one_more(queue, entries.get(shape), job, stop.message, now)
        elif view.ended_pod is not None and view.ended_pod.node_name:
            # What it used is free now: no need to wait for the next try.
            for other, entry in entries.items():
                entries[other] = entry.model_copy(update={"next_try_at": min(entry.next_try_at, now)})
    for shape, entry in list(entries.items()):
        if entry.trying is None:
            continue
        if held.get(entry.trying, AttemptView()).on_a_node:
            del entries[shape]
        elif entry.trying not in held:
            entries[shape] = entry.model_copy(update={"trying": None})
    for job in reserved:
        if (short := entries.get(shape_of(job))) is not None:
            entries[short.shape] = short.model_copy(update={"trying": job.uid})
    return tuple(sorted(entries.values(), key=lambda entry: entry.since)[-SHORTAGES_AT_MOST:])


def _one_more(
    queue: AnalysisQueue, before: CapacityShortage | None, job: AnalysisJob, message: str, now: datetime
) -> CapacityShortage:
    """A job gave its slot back; of those that had started together only the first one counts as a try."""
    if before is not None and before.trying != job.uid:
        return before
    settings = queue.spec.capacity
    tries = 1 if before is None else before.tries + 1
    pause = min(settings.probe_at_most_seconds, settings.probe_seconds * 2 ** min(tries - 1, 20))
    return CapacityShortage(
        shape=shape_of(job),
        since=before.since if before is not None else now,
        missing=missing_resources(message),
        message=message[:512],
        tries=tries,
        next_try_at=now + timedelta(seconds=pause),
    )
