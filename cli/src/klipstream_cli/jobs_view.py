"""AnalysisJobs as rows: from the API server's own objects, without models, since lists may be long (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from klipstream_cli.printing import PHASE_COLOURS, PRIORITY_COLOURS
from klipstream_cli.resources import PRIORITIES
from klipstream_cli.times import age, moment, seconds_since, span

Job = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
HEADER = ("NAME", "PRIORITY", "PHASE", "POS", "PROGRESS", "STAGE", "ETA", "ATTEMPT", "AGE")
WIDE = ("QUEUE", "VIDEO", "WAITED", "RAN", "REASON")
COLOURS = {"PHASE": PHASE_COLOURS, "PRIORITY": PRIORITY_COLOURS}


def key_of(job: Job) -> Key:
    """Namespace and name."""
    metadata = job["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def phase_of(job: Job) -> str:
    """The phase; Queued where nothing was written yet."""
    return str(job.get("status", {}).get("phase") or "Queued")


def priority_of(job: Job) -> str:
    """The priority that decides: the job's own, or the higher one that aging raised it to."""
    own = str(job.get("spec", {}).get("priority") or "NORMAL")
    aged = job.get("status", {}).get("effectivePriority")
    return str(aged) if aged and PRIORITIES.get(aged, 0) > PRIORITIES.get(own, 0) else own


def queue_of(job: Job) -> str:
    """The queue that accepted the job, or that it names; empty where neither is known."""
    return str(job.get("status", {}).get("queueName") or job.get("spec", {}).get("queueName") or "")


def waits(job: Job, now: datetime) -> bool:
    """Whether the job stands in line: queued, not being cancelled, and due."""
    if phase_of(job) != "Queued" or job["spec"].get("cancel") or job["metadata"].get("deletionTimestamp"):
        return False
    due = job["spec"].get("notBefore")
    at = moment(due) if due else None
    return at is None or at <= now


def rank(job: Job) -> tuple[int, int, str]:
    """The order of starting, as in klipstream_queueing.order; a job that was not accepted yet stands last."""
    sequence = job.get("status", {}).get("sequence")
    version = sequence if sequence is not None else int(job["metadata"].get("resourceVersion") or 0)
    return -PRIORITIES.get(priority_of(job), 0), int(version), str(job["metadata"].get("uid", ""))


def positions(jobs: Iterable[Job], now: datetime) -> dict[Key, int]:
    """Place in line, from 1, of all that wait; `jobs` must hold every queued job of their queues."""
    lines: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        queue = queue_of(job)
        if queue and waits(job, now):
            lines.setdefault((job["metadata"].get("namespace", ""), queue), []).append(job)
    return {key_of(job): place for line in lines.values() for place, job in enumerate(sorted(line, key=rank), 1)}


def progress_of(job: Job) -> dict[str, Any]:
    """Progress of the current attempt; empty where it posted none."""
    status = job.get("status", {})
    progress = status.get("progress") or {}
    return progress if progress.get("attempt") == status.get("attempt") else {}


def eta(job: Job, now: datetime) -> str:
    """What is left of a running job by its worker's own estimate, or until the next try of one that backs off."""
    status, phase = job.get("status", {}), phase_of(job)
    if phase == "BackingOff":
        left = seconds_since(status.get("nextAttemptAt"), now)
        return "" if left is None else f"try in {span(-left)}"
    progress = progress_of(job)
    seconds = progress.get("estimatedCompletionSeconds")
    if phase != "Running" or seconds is None:
        return ""
    return span(max(0.0, float(seconds) - (seconds_since(progress.get("updatedAt"), now) or 0.0)))


def condition(obj: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition; empty where it was never set."""
    return next((dict(c) for c in obj.get("status", {}).get("conditions") or [] if c.get("type") == kind), {})


def reason(job: Job) -> str:
    """One word on why it ended, or on what holds it up."""
    finished = condition(job, "Finished")
    if finished.get("status") == "True":
        return str(finished.get("reason", ""))
    room = condition(job, "CapacityAvailable")
    if room.get("status") == "False":
        return str(room.get("reason", ""))
    attempts = job.get("status", {}).get("attempts") or []
    return str(attempts[-1].get("reason") or "") if attempts and phase_of(job) == "BackingOff" else ""


def row(job: Job, place: int | None, now: datetime) -> tuple[str, ...]:
    """Cells under HEADER."""
    status, progress = job.get("status", {}), progress_of(job)
    percentage = progress.get("percentage")
    if phase_of(job) == "Succeeded":
        percentage = 100
    return (
        job["metadata"]["name"],
        priority_of(job),
        phase_of(job),
        "" if place is None else str(place),
        "" if percentage is None else f"{float(percentage):.0f}%",
        str(progress.get("stage") or ""),
        eta(job, now),
        str(status.get("attempt") or 0),
        age(job["metadata"].get("creationTimestamp"), now),
    )


def wide(job: Job, now: datetime) -> tuple[str, ...]:
    """Cells under WIDE."""
    return (queue_of(job), str(job["spec"].get("videoId") or ""), waited(job, now), ran(job, now), reason(job))


def waited(job: Job, now: datetime) -> str:
    """How long it waited for its first attempt, or has waited so far."""
    status = job.get("status", {})
    queued = moment(status.get("queuedAt") or job["metadata"].get("creationTimestamp"))
    attempts = status.get("attempts") or []
    first = moment(attempts[0].get("startedAt")) if attempts and attempts[0].get("attempt") == 1 else None
    if queued is None or (first is None and status.get("attempt")):
        return ""
    end = first or moment(status.get("finishedAt")) or now
    return span((end - queued).total_seconds())


def ran(job: Job, now: datetime) -> str:
    """How long the current or last attempt runs or ran."""
    status = job.get("status", {})
    started = moment(status.get("startedAt"))
    if started is None or phase_of(job) == "Queued":
        return ""
    attempts = status.get("attempts") or []
    ended = moment(attempts[-1].get("finishedAt")) if attempts else None
    end = now if phase_of(job) in ("Starting", "Running") else ended or moment(status.get("finishedAt"))
    return "" if end is None else span((end - started).total_seconds())
