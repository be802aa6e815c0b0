"""Acceptance: nothing into a queue that is draining or full."""

from klipjudge.cluster import Cluster, Job, JobVersion, Queue
from klipjudge.history import Request
from klipjudge.verdict import Terms, Verdict


def check_acceptance(
    job: Job, before: JobVersion | None, cluster: Cluster, verdict: Verdict, terms: Terms, request: Request
) -> None:
    """A job that gets its first sequence, against what its queue's spec may have said when that was decided."""
    if job.now.sequence is None or job.queue is None:
        return
    if before is not None and before.sequence is not None:
        _note_return(job, before, cluster.queue(job.queue), request)
        return
    if before is None or cluster.unanswered.may_have_changed(job.name, before.received, request):
        return
    queue = cluster.queue(job.queue)
    verdict.checked["draining"] += 1
    if all(mode == "Draining" for mode in queue.mode.possible(queue.uid, request, terms)):
        verdict.broken("draining", request, f"{job.name} was accepted by queue {queue.name}, which is draining")
    verdict.checked["full"] += 1
    others = queue.waiting - (job.rank is not None)
    size = max(queue.size.possible(queue.uid, request, terms))
    # Retries, replays and what found no node come back whatever the size, perhaps while this was on its way.
    if others >= size and others - _returned_lately(queue, request.decided - terms.seen_seconds) >= size:
        message = f"{job.name} was accepted by queue {queue.name}, where {others} jobs wait and maxQueueSize is {size}"
        verdict.broken("full", request, message)


def _note_return(job: Job, before: JobVersion, queue: Queue, request: Request) -> None:
    if job.now.phase == "Queued" and before.phase != "Queued":
        queue.requeued.append(request.completed)


def _returned_lately(queue: Queue, since: float) -> int:
    return sum(1 for moment in reversed(queue.requeued) if moment >= since)
