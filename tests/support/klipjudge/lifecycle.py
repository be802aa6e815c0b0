"""A job's way from phase to phase: what is final, what never falls, and what has to have happened before."""

from klipjudge.cluster import Cluster, Job, JobVersion
from klipjudge.history import Request, seconds
from klipjudge.pods import Pods
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import ACTIVE, FINISHED

MOMENTS = ("queuedAt", "startedAt", "finishedAt")


def check_final(job: Job, before: JobVersion, verdict: Verdict, request: Request) -> None:
    """A finished job stays finished; a failed one leaves its phase only by a replay."""
    now = job.now
    if before.phase not in FINISHED:
        return
    verdict.checked["terminal"] += 1
    replayed = before.phase == "Failed" and now.observed_replay > before.observed_replay
    if now.phase != before.phase and not replayed:
        verdict.broken("terminal", request, f"{job.name} went from {before.phase} to {now.phase}")


def check_counters(job: Job, before: JobVersion, verdict: Verdict, request: Request) -> None:
    """Attempts and acted-on replays never become fewer."""
    now = job.now
    verdict.checked["counters"] += 1
    if now.attempt < before.attempt:
        verdict.broken("counters", request, f"{job.name} went from attempt {before.attempt} to {now.attempt}")
    if now.observed_replay < before.observed_replay:
        message = f"observedReplay of {job.name} fell from {before.observed_replay} to {now.observed_replay}"
        verdict.broken("counters", request, message)
    if now.observed_replay > max(now.replay, before.observed_replay):
        message = f"observedReplay of {job.name} is {now.observed_replay}, but spec.replay is {now.replay}"
        verdict.broken("counters", request, message)


def check_settled(job: Job, before: JobVersion, verdict: Verdict, pods: Pods, request: Request) -> None:
    """An attempt leaves Starting or Running, and a job ends, only when no pod of it is live (rules 4 and 5)."""
    now = job.now
    left = before.phase in ACTIVE and (now.phase not in ACTIVE or now.attempt > before.attempt)
    if not left and (now.phase == before.phase or now.phase not in FINISHED):
        return
    verdict.checked["settled"] += 1
    if pods.live(job.uid):
        verdict.broken("settled", request, f"{job.name} went from {before.phase} to {now.phase} while its pod was live")


def check_success(job: Job, before: JobVersion | None, cluster: Cluster, verdict: Verdict, request: Request) -> None:
    """Only what the worker's pod, or its Job, said before makes a job Succeeded; a cancel changes nothing of that."""
    now = job.now
    if now.phase != "Succeeded" or before is None or before.phase == "Succeeded":
        return
    verdict.checked["success"] += 1
    attempt = cluster.attempts.get((job.uid, now.attempt))
    if attempt is None or not (attempt.succeeded or attempt.job_complete):
        message = f"{job.name} succeeded, but no pod of attempt {now.attempt} had"
        verdict.broken("success", request, message)


def check_backoff(job: Job, before: JobVersion, verdict: Verdict, terms: Terms, request: Request) -> None:
    """A retry waits until nextAttemptAt, which was fixed when the attempt failed."""
    due = before.status.get("nextAttemptAt")
    if before.phase != "BackingOff" or due is None or job.now.phase not in ("Queued", "Starting", "Running"):
        return
    verdict.checked["retry-early"] += 1
    early = seconds(due) - request.decided
    if early > terms.clock_seconds:
        verdict.broken("retry-early", request, f"{job.name} came back {early:.1f} s before its nextAttemptAt")


def check_moments(job: Job, before: JobVersion | None, verdict: Verdict, terms: Terms, request: Request) -> None:
    """What is said to have happened has happened by the API server's clock, whatever that of its writer shows."""
    if not terms.by_operator(request.agent):
        return
    old = before.status if before is not None else {}
    for name in MOMENTS:
        moment = job.now.status.get(name)
        if moment is None or moment == old.get(name):
            continue
        verdict.checked["clock"] += 1
        early = seconds(moment) - request.decided
        if early > terms.clock_seconds:
            verdict.broken("clock", request, f"{name} of {job.name} is {early:.1f} s in the future")
