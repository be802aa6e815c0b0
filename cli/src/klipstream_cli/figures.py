"""Figures of what ran: throughput, success, waits, run times, failures, what stages took (pure)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from klipstream_cli.jobs_view import phase_of, priority_of, queue_of
from klipstream_cli.times import moment

Job = dict[str, Any]
BINS = 24
NONE = "(none)"
MEASURED = ("wallSeconds", "cpuSeconds", "peakMemoryBytes")


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of seconds, bytes or other amounts."""

    count: int
    p50: float
    p90: float
    most: float


@dataclass(frozen=True, slots=True)
class StageFigures:
    """What a stage took; None for what no worker measured."""

    wall_seconds: Spread | None
    cpu_seconds: Spread | None
    peak_memory_bytes: Spread | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report shows; all times in seconds."""

    since: datetime
    until: datetime
    submitted: int
    ended: dict[str, int]
    """By final phase."""
    success_percent: float | None
    per_hour: float
    bins: tuple[tuple[datetime, int, int], ...]
    """Begin of each part of the time, how many succeeded in it and how many failed."""
    waits: dict[str, Spread]
    """From acceptance to the first attempt, by priority."""
    runs: dict[str, Spread]
    """Succeeded attempts, by type."""
    turnarounds: Spread | None
    """From submission to success."""
    attempts: int
    retried: int
    failures: dict[str, int]
    """Failed attempts, by class and reason."""
    stages: dict[str, StageFigures]
    """By stage, as workers measured them."""
    queues: dict[str, dict[str, int]]
    """Final phases by queue, by NAMESPACE/QUEUE where there are several namespaces."""


def spread(values: Sequence[float]) -> Spread | None:
    """Quantiles by nearest rank: the least value that so large a share is not above; None for nothing."""
    if not values:
        return None
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Spread(len(ordered), at(0.5), at(0.9), ordered[-1])


def report(jobs: Iterable[Job], since: datetime, until: datetime) -> Report:
    """What ended between two moments, and what was submitted between them."""
    jobs = list(jobs)
    done = [job for job in jobs if (at := moment(job.get("status", {}).get("finishedAt"))) and since <= at <= until]
    ended = Counter(map(phase_of, done))
    judged = ended["Succeeded"] + ended["Failed"]
    waits: dict[str, list[float]] = defaultdict(list)
    runs: dict[str, list[float]] = defaultdict(list)
    turnarounds, failures, attempts, retried = [], Counter[str](), 0, 0
    queues: dict[str, Counter[str]] = defaultdict(Counter)
    stages: dict[str, dict[str, list[float]]] = {}
    several = len({job["metadata"].get("namespace") for job in done}) > 1
    for job in done:
        status = job.get("status", {})
        queue = queue_of(job) or NONE
        queues[f"{job['metadata'].get('namespace')}/{queue}" if several else queue][phase_of(job)] += 1
        retried += int(status.get("retries") or 0)
        attempts += int(status.get("attempt") or 0)
        entries = status.get("attempts") or []
        if (wait := _between(status.get("queuedAt"), _first_start(entries))) is not None:
            waits[priority_of(job)].append(wait)
        if phase_of(job) == "Succeeded":
            if (whole := _between(job["metadata"].get("creationTimestamp"), status.get("finishedAt"))) is not None:
                turnarounds.append(whole)
            last = entries[-1] if entries else {}
            if (run := _between(last.get("startedAt"), last.get("finishedAt") or status.get("finishedAt"))) is not None:
                runs[str(job["spec"].get("type") or NONE)].append(run)
        for entry in entries:
            if entry.get("failureClass"):
                failures[f"{entry['failureClass']}: {entry.get('reason') or 'no reason'}"] += 1
            for stage in entry.get("resources") or []:
                took = stages.setdefault(stage["stage"], {key: [] for key in MEASURED})
                for key in MEASURED:
                    if stage.get(key) is not None:
                        took[key].append(float(stage[key]))
    hours = max(1e-9, (until - since).total_seconds() / 3600)
    return Report(
        since=since,
        until=until,
        submitted=sum(
            (at := moment(job["metadata"].get("creationTimestamp"))) is not None and since <= at <= until
            for job in jobs
        ),
        ended=dict(ended.most_common()),
        success_percent=100 * ended["Succeeded"] / judged if judged else None,
        per_hour=judged / hours,
        bins=_bins(done, since, until),
        waits=_spreads(waits),
        runs=_spreads(runs),
        turnarounds=spread(turnarounds),
        attempts=attempts,
        retried=retried,
        failures=dict(failures.most_common()),
        stages={
            stage: StageFigures(*(spread(took[key]) for key in MEASURED))
            for stage, took in stages.items()
            if any(took.values())
        },
        queues={queue: dict(phases) for queue, phases in sorted(queues.items())},
    )


def _spreads(values: dict[str, list[float]]) -> dict[str, Spread]:
    return {key: found for key in sorted(values) if (found := spread(values[key])) is not None}


def _first_start(entries: list[dict[str, Any]]) -> str | None:
    """When the first attempt began; not known once five others came after it."""
    return entries[0].get("startedAt") if entries and entries[0].get("attempt") == 1 else None


def _between(start: str | None, end: str | None) -> float | None:
    first, last = moment(start), moment(end)
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())


def _bins(done: list[Job], since: datetime, until: datetime) -> tuple[tuple[datetime, int, int], ...]:
    size = (until - since) / BINS
    counts = [[0, 0] for _ in range(BINS)]
    for job in done:
        at = moment(job["status"]["finishedAt"])
        if at is None or phase_of(job) not in ("Succeeded", "Failed") or not size > timedelta(0):
            continue
        counts[min(BINS - 1, int((at - since) / size))][phase_of(job) == "Failed"] += 1
    return tuple((since + size * n, good, bad) for n, (good, bad) in enumerate(counts))
