"""Figures of a run from the audit log: requests per job, how fast slots are refilled, how well they are used."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from klipjudge.history import Request, in_store_order


@dataclass(frozen=True, slots=True)
class Throughput:
    """How a run went; all times in seconds."""

    makespan_seconds: float
    """From the first Job to the last pod's end."""
    jobs_per_second: float
    """Pods that ended, over the makespan."""
    utilisation: float
    """Share of the slots' time in which a pod ran, 0 to 1."""
    refill_p50_seconds: float
    refill_p99_seconds: float
    """From a pod's end to the create of the Job that takes its slot: arrival of the one until arrival of the other."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Times in seconds: half of them are at most p50, 99 in 100 at most p99."""

    count: int
    p50: float
    p99: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """How values are spread; all 0 where there are none."""
    return Spread(len(values), quantile(values, 0.5), quantile(values, 0.99), max(values, default=0.0))


def requests_by_agent(requests: Iterable[Request]) -> dict[str, Counter[str]]:
    """How many requests each kind of user agent sent, by verb, resource and subresource; failed ones by their code."""
    counts: dict[str, Counter[str]] = {}
    for request in requests:
        failed = f" ({request.code})" if request.code >= 300 else ""
        counts.setdefault(request.agent.partition(" ")[0], Counter())[request.kind_of + failed] += 1
    return counts


def throughput(requests: Iterable[Request], limit: int) -> Throughput:
    """Figures of all Jobs and pods of these requests, run in `limit` slots.

    Raises ValueError when no pod ran to its end.
    """
    ours = in_store_order(list(requests))
    creates = sorted(r.received for r in ours if r.resource == "jobs.batch" and r.verb == "create")
    began, ended = _pod_times(ours)
    if not creates or not ended:
        raise ValueError("the audit log shows no pod that ran to its end")
    makespan = max(ended.values()) - creates[0]
    busy = sum(end - began[uid] for uid, end in ended.items() if uid in began)
    refills = refill_seconds(creates, sorted(ended.values()), limit)
    return Throughput(
        makespan_seconds=makespan,
        jobs_per_second=len(ended) / makespan,
        utilisation=busy / (limit * makespan),
        refill_p50_seconds=quantile(refills, 0.5),
        refill_p99_seconds=quantile(refills, 0.99),
    )


def running_pods(requests: Iterable[Request], points: int = 400) -> list[tuple[float, int]]:
    """How many pods ran, so many times evenly over the run: seconds since the first Job, and pods."""
    ours = in_store_order(list(requests))
    start = min(r.received for r in ours if r.resource == "jobs.batch" and r.verb == "create")
    began, ended = _pod_times(ours)
    changes = sorted([(at, 1) for at in began.values()] + [(at, -1) for uid, at in ended.items() if uid in began])
    last, left, count, found = changes[-1][0], deque(changes), 0, []
    for number in range(points + 1):
        at = start + (last - start) * number / points
        while left and left[0][0] <= at:
            count += left.popleft()[1]
        found.append((at - start, count))
    return found


def refill_seconds(creates: Sequence[float], ends: Sequence[float], limit: int) -> list[float]:
    """How long each slot stood free before its next Job, the slot that is free longest being taken first.

    The first `limit` Jobs take slots that nobody freed, and count for nothing.
    """
    free = deque(ends)
    return [at - free.popleft() for at in creates[limit:] if free and free[0] <= at]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _pod_times(requests: Sequence[Request]) -> tuple[dict[str, float], dict[str, float]]:
    """When each pod was said to run and to have ended, by its uid."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for request in requests:
        if request.resource != "pods" or request.subresource != "status":
            continue
        uid, phase = request.answer["metadata"]["uid"], request.answer["status"].get("phase")
        if phase == "Running":
            began.setdefault(uid, request.received)
        elif phase in ("Succeeded", "Failed"):
            ended.setdefault(uid, request.received)
    return began, ended
