"""What failures cost: retries are burnt by the attempts that failed by themselves, and by no others."""

from typing import Any

from klipjudge.cluster import Cluster, Job, JobVersion
from klipjudge.history import Request
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import BURNING, DEFAULT_MAX_RETRIES, INFRASTRUCTURE_LOSSES_AT_MOST


def check_attempts(
    job: Job, before: JobVersion, cluster: Cluster, verdict: Verdict, terms: Terms, request: Request
) -> None:
    """The attempts that ended in this write, against the counters."""
    now = job.now
    if now.observed_replay > before.observed_replay and now.phase != before.phase:
        job.burnt = 0  # a replay starts over
    if now.attempts == before.attempts and now.retries == before.retries and now.losses == before.losses:
        return
    ended = _ended(before, now)
    burnt = [entry for entry in ended if entry.get("failureClass") in BURNING]
    lost = [entry for entry in ended if entry.get("failureClass") == "Infrastructure"]
    last = 1 if now.phase == "Failed" else 0  # the failure that ends the job is counted by nobody
    if burnt or now.retries > before.retries:
        job.burnt += len(burnt)
        most = _most_retries(job, cluster, terms, request)
        verdict.checked["retries"] += 1
        if now.retries > max(most, before.retries) or job.burnt > max(most, before.retries) + 1:
            message = f"{job.name} used {now.retries} retries for {job.burnt} failures, maxRetries is {most}"
            verdict.broken("retries", request, message)
        counted = now.retries - before.retries
        if not len(burnt) - last <= counted <= len(burnt) and now.observed_replay == before.observed_replay:
            verdict.broken("retries", request, f"{job.name} counted {counted} retries for {len(burnt)} failures")
    if lost or now.losses > before.losses:
        verdict.checked["losses"] += 1
        if now.losses > INFRASTRUCTURE_LOSSES_AT_MOST:
            verdict.broken("losses", request, f"{job.name} bore {now.losses} losses to the infrastructure")
        counted = now.losses - before.losses
        if not len(lost) - last <= counted <= len(lost) and now.observed_replay == before.observed_replay:
            verdict.broken("losses", request, f"{job.name} counted {counted} losses for {len(lost)}")
    for entry in ended:
        _check_lost_with_node(job, before, entry, cluster, verdict, request)


def _ended(before: JobVersion, now: JobVersion) -> list[dict[str, Any]]:
    """Entries that have an end now and had none before."""
    known = {entry["attempt"] for entry in before.attempts if entry.get("finishedAt")}
    oldest = before.attempts[0]["attempt"] if before.attempts else 0
    return [
        entry
        for entry in now.attempts
        if entry.get("finishedAt") and entry["attempt"] not in known and entry["attempt"] >= oldest
    ]


def _most_retries(job: Job, cluster: Cluster, terms: Terms, request: Request) -> int:
    """maxRetries in force: the job's own, or its queue's."""
    own = job.max_retries.possible(job.uid, request, terms)
    of_queue = DEFAULT_MAX_RETRIES
    if job.queue is not None:
        queue = cluster.queue(job.queue)
        of_queue = max(queue.max_retries.possible(queue.uid, request, terms))
    return max(of_queue if value is None else value for value in own)


def _check_lost_with_node(
    job: Job, before: JobVersion, entry: dict[str, Any], cluster: Cluster, verdict: Verdict, request: Request
) -> None:
    """An attempt whose pod was given up with its node burns nothing, unless it was being stopped anyway."""
    attempt = cluster.attempts.get((job.uid, entry["attempt"]))
    if attempt is None or not attempt.lost or before.stopping or entry.get("failureClass") is None:
        return
    verdict.checked["losses"] += 1
    if entry["failureClass"] != "Infrastructure":
        message = f"attempt {entry['attempt']} of {job.name} was lost with its node and counted as"
        verdict.broken("losses", request, f"{message} {entry['failureClass']}")
