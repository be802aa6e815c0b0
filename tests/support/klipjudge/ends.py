"""How a history ends: everything finished, in time, and then silence."""

from collections.abc import Iterable

from klipjudge.cluster import Cluster, Job
from klipjudge.history import WRITES, Request
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import FINISHED

NOT_STORED = ("authentication.k8s.io", "authorization.k8s.io")
"""Groups whose objects are questions: they are created, answered and stored nowhere."""


def check_ends(cluster: Cluster, verdict: Verdict, terms: Terms, end: float) -> None:
    """Each job that is left is finished, and holds no slot."""
    left = [job for job in cluster.jobs.values() if not job.gone]
    verdict.jobs = len(left)
    for job in left:
        phase = job.now.phase or "unknown"
        verdict.phases[phase] = verdict.phases.get(phase, 0) + 1
        verdict.checked["unfinished"] += 1
        if phase not in FINISHED:
            verdict.broken("unfinished", None, f"AnalysisJob {job.name} ended in phase {phase}")
        elif phase == "Failed" and job.now.replay > job.now.observed_replay:
            verdict.broken("unfinished", None, f"the replay of AnalysisJob {job.name} was never acted on")
        else:
            _check_in_time(job, verdict, terms)
    if terms.faults_ended is not None:
        _check_slots(cluster, verdict, terms, end)


def _check_in_time(job: Job, verdict: Verdict, terms: Terms) -> None:
    if terms.faults_ended is None or job.finished_at is None:
        return
    late = job.finished_at - max(terms.faults_ended, job.created_completed) - terms.finish_within_seconds
    if late > 0:
        message = f"AnalysisJob {job.name} was finished {late:.1f} s later than the bound after the faults allows"
        verdict.broken("unfinished", None, message)


def _check_slots(cluster: Cluster, verdict: Verdict, terms: Terms, end: float) -> None:
    for queue in cluster.queues.values():
        for uid, number in sorted(queue.admitted):
            job = cluster.jobs.get(uid)
            if job is None or job.finished_at is None:
                continue
            verdict.checked["slot-kept"] += 1
            kept = end - max(job.finished_at, terms.faults_ended or 0.0)
            if kept > terms.finish_within_seconds:
                message = f"attempt {number} of {job.name} still has a slot {kept:.1f} s after its end"
                verdict.broken("slot-kept", None, message)


def check_purge(job: Job, verdict: Verdict, terms: Terms, request: Request) -> None:
    """Users delete what they like; the operator deletes what is finished."""
    if not terms.by_operator(request.agent):
        return
    verdict.checked["purged"] += 1
    if job.now.phase not in FINISHED:
        verdict.broken("purged", request, f"the operator deleted {job.name} in phase {job.now.phase}")


def check_quiet(requests: Iterable[Request], verdict: Verdict, terms: Terms) -> None:
    """In a steady state the operator writes nothing but its Lease, not even in vain."""
    if terms.quiet_from is None:
        return
    verdict.checked["quiet"] += 1
    for request in requests:
        if request.received < terms.quiet_from or request.verb not in WRITES or not terms.by_operator(request.agent):
            continue
        if request.resource.startswith("leases.") or request.resource.endswith(NOT_STORED):
            continue
        verdict.broken("quiet", request, f"{request.kind_of} {request.namespace}/{request.name} in a steady state")
