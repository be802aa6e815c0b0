"""Judges from a history of requests alone whether the queue kept its promises. Shares no code with the operator.

The store's revisions order all writes of a cluster, so what held at a revision is known exactly: every rule is
checked after every write. Clocks only matter where a user's patch and a decision meet.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from klipjudge.acceptance import check_acceptance
from klipjudge.announcements import check_announced
from klipjudge.attempts import check_attempts
from klipjudge.cluster import Cluster, Job
from klipjudge.ends import check_ends, check_purge, check_quiet
from klipjudge.history import Request, in_store_order
from klipjudge.launches import Launches
from klipjudge.leadership import LEASES, Leadership
from klipjudge.lifecycle import (
    check_backoff,
    check_counters,
    check_final,
    check_moments,
    check_settled,
    check_success,
)
from klipjudge.order import Order
from klipjudge.pods import Pods
from klipjudge.progress import check_progress
from klipjudge.reservations import Reservations
from klipjudge.unanswered import Unanswered
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import FINISHED, JOBS, QUEUES


def judge(requests: Iterable[Request], terms: Terms | None = None) -> Verdict:
    """Replay the writes in the order of the store and check every rule after each."""
    requests = list(requests)
    terms = terms or Terms()
    verdict, cluster = Verdict(), Cluster(Unanswered.of(requests))
    pods = Pods(cluster, verdict, terms)
    launches = Launches(cluster, verdict, terms)
    order = Order(cluster, verdict, terms)
    reservations = Reservations(cluster, verdict, terms, order)
    jobs = _Jobs(cluster, verdict, terms, pods, order)
    leadership = Leadership(verdict, terms)
    clock = 0.0
    for request in in_store_order(requests):
        if not request.completed:  # what was left at the end: nobody knows when it was written
            request = replace(request, received=clock, completed=clock)
        clock = max(clock, request.completed)
        leadership.check(request)
        match request.resource:
            case _ if request.resource == LEASES:
                leadership.take(request)
            case "pods":
                if request.subresource != "binding":
                    pods.take(request)
            case "jobs.batch":
                launches.take(request)
            case _ if request.resource == JOBS:
                jobs.take(request)
            case _ if request.resource == QUEUES:
                reservations.take(request)
    order.finish()
    check_ends(cluster, verdict, terms, clock)
    check_quiet(requests, verdict, terms)
    return verdict


@dataclass(slots=True)
class _Jobs:
    """The AnalysisJobs, and the rules on how one version follows another."""

    cluster: Cluster
    verdict: Verdict
    terms: Terms
    pods: Pods
    order: Order

    def take(self, request: Request) -> None:
        """A write to an AnalysisJob or its status."""
        metadata = request.answer.get("metadata") or {}
        uid = metadata.get("uid") or self.cluster.uids.get(f"{request.namespace}/{request.name}", "")
        job = self.cluster.jobs.get(uid)
        deleted = request.verb in ("delete", "deletecollection")
        if not metadata.get("uid"):
            if deleted and job is not None:
                self._gone(job, request)
            return
        if job is not None and request.revision <= job.now.revision and not deleted:
            return  # it changed nothing
        if not deleted or metadata.get("finalizers"):
            job = self._written(uid, request)
        if job is not None and (deleted or "deletionTimestamp" in metadata) and not metadata.get("finalizers"):
            self._gone(job, request)

    def _gone(self, job: Job, request: Request) -> None:
        if not job.gone:
            check_purge(job, self.verdict, self.terms, request)
            self.cluster.remove_job(job)

    def _written(self, uid: str, request: Request) -> Job:
        cluster, verdict, terms = self.cluster, self.verdict, self.terms
        job, before = cluster.put_job(uid, request)
        if job.now.phase not in FINISHED:
            job.finished_at = None
        elif job.finished_at is None:
            job.finished_at = request.completed
        if job.now.cancel and not (before is not None and before.cancel):
            verdict.checked["cancel"] += 1  # from now on, whatever is reserved, started or resumed for it counts
        self.order.sequenced(job, before, request)
        check_acceptance(job, before, cluster, verdict, terms, request)
        check_announced(job, before, verdict, request)
        check_moments(job, before, verdict, terms, request)
        check_success(job, before, cluster, verdict, request)
        if before is not None and before.status != job.now.status:
            check_final(job, before, verdict, request)
            check_counters(job, before, verdict, request)
            check_settled(job, before, verdict, self.pods, request)
            check_backoff(job, before, verdict, terms, request)
            check_attempts(job, before, cluster, verdict, terms, request)
            check_progress(job, before, verdict, request)
        return job
