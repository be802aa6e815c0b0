"""status.admitted of a queue: who may get a slot, and when it may be taken away again."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from klipjudge.cluster import Attempt, Cluster, Job, Queue
from klipjudge.history import Request, seconds
from klipjudge.order import Order
from klipjudge.patched import Patched
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import DEFAULT_LOST_AFTER_SECONDS, DEFAULT_MAX_RETRIES, AttemptKey


@dataclass(slots=True)
class Reservations:
    """The queues, and the rules on their reservations."""

    cluster: Cluster
    verdict: Verdict
    terms: Terms
    order: Order

    def take(self, request: Request) -> None:
        """A write to an AnalysisQueue, its status or its scale."""
        metadata = request.answer.get("metadata") or {}
        name = f"{request.namespace}/{metadata.get('name') or request.name}"
        if request.subresource == "scale":
            self._scaled(name, request)
            return
        deleted = request.verb in ("delete", "deletecollection") or "deletionTimestamp" in metadata
        if deleted and not metadata.get("finalizers"):
            queue = self.cluster.queue(name)
            queue.initialized = False
            # The documented defaults stand in for it, for the work that it leaves.
            queue.max_retries.put(DEFAULT_MAX_RETRIES, request)
            queue.lost_after.put(DEFAULT_LOST_AFTER_SECONDS, request)
            self._replace(queue, frozenset(), request)
        elif metadata:
            self._written(self.cluster.queue(name), request)

    def _scaled(self, name: str, request: Request) -> None:
        limit = (request.answer.get("spec") or {}).get("replicas")
        if limit is not None:
            self._limit(self.cluster.queue(name), limit, request)

    def _limit(self, queue: Queue, limit: int, request: Request) -> None:
        if limit != queue.limit or not queue.limits:
            queue.limits.append((request.revision, limit))
            queue.limit = limit

    def _written(self, queue: Queue, request: Request) -> None:
        answer = request.answer
        spec, status = answer.get("spec") or {}, answer.get("status") or {}
        queue.uid = answer["metadata"].get("uid", "")
        self._settings(queue, spec, request)
        entries = status.get("admitted") or ()
        admitted = frozenset([(entry["uid"], entry["attempt"]) for entry in entries])
        if len(entries) != len(admitted):
            message = f"an attempt is reserved twice in queue {queue.name}"
            self.verdict.broken("one-reservation", request, message)
        if admitted != queue.admitted:
            self._replace(queue, admitted, request, looked_over=queue.initialized)
        # The next reservation is decided on what this write says.
        queue.initialized = bool(status.get("initialized"))
        capacity = status.get("capacity")
        queue.short = frozenset([entry["shape"] for entry in capacity]) if capacity else frozenset()
        for operation in status.get("operations") or ():
            if operation["name"] == "Clear" and operation.get("at"):
                queue.cleared_at = seconds(operation["at"])
            elif operation["name"] == "ClearStuck" and operation.get("at"):
                queue.cleared_stuck = True

    def _settings(self, queue: Queue, spec: dict[str, Any], request: Request) -> None:
        lost = spec.get("nodeLost") or {}
        released = lost.get("release", True)
        lost_after = float(lost.get("seconds", DEFAULT_LOST_AFTER_SECONDS)) if released else float("inf")
        mode, size = spec.get("mode", "Running"), spec.get("maxQueueSize", 100)
        retries = spec.get("maxRetries", DEFAULT_MAX_RETRIES)
        if not queue.limits:  # its first version: nothing was before it
            queue.mode, queue.size = Patched(mode), Patched(size)
            queue.max_retries, queue.lost_after = Patched(retries), Patched(lost_after)
        self._limit(queue, spec.get("maxConcurrentJobs", 3), request)
        queue.mode.put(mode, request)
        queue.size.put(size, request)
        queue.max_retries.put(retries, request)
        queue.lost_after.put(lost_after, request)

    # --- what came, what went ----------------------------------------------------------------------------------

    def _replace(
        self, queue: Queue, admitted: frozenset[AttemptKey], request: Request, *, looked_over: bool = True
    ) -> None:
        removed, added = queue.admitted - admitted, admitted - queue.admitted
        queue.admitted = admitted
        for key in removed:
            self._removed(self.cluster.attempt(key), queue, request)
        if not added:
            return
        taken, unseen = set(added), self.cluster.unanswered.reservations
        if not looked_over:
            taken = {key for key in added if not self._taken_over(queue, key, request)}
        held_twice = {uid for uid, _ in taken if self._holds(uid)}
        for key in added:
            self.cluster.hold(key, queue.name)
        # What an unanswered write may have reserved was decided on another state than that of now.
        if certain := {key for key in taken if key not in unseen}:
            self._check_added(queue, certain, held_twice, request)
        for key in added:
            attempt = self.cluster.attempt(key)
            if (key in taken and key not in unseen) or attempt.reserved_revision is None:
                attempt.reserved_revision = request.revision
        self.verdict.reservations += len(added)

    def _holds(self, uid: str) -> bool:
        job = self.cluster.jobs.get(uid)
        return job is not None and job.holds > 0

    def _taken_over(self, queue: Queue, key: AttemptKey, request: Request) -> bool:
        """What already runs is taken into the reservations of a queue that was not looked over (rule 6)."""
        attempt = self.cluster.attempt(key)
        self.verdict.checked["initialized-first"] += 1
        if attempt.job_uid is not None or attempt.live:
            return True
        message = f"queue {queue.name} reserved attempt {key[1]} of {key[0]} before it was looked over"
        self.verdict.broken("initialized-first", request, message)
        return False

    def _check_added(
        self,
        queue: Queue,
        added: Set[AttemptKey],
        held_twice: Set[str],
        request: Request,
    ) -> None:
        checked = self.verdict.checked
        checked["overcommit"] += 1
        if len(queue.admitted) > queue.limit:
            message = f"{len(queue.admitted)} reservations in queue {queue.name}, limit {queue.limit}"
            self.verdict.broken("overcommit", request, message)
        # The write is guarded by the version of the queue that it was decided on, so the mode is known exactly.
        checked["paused"] += 1
        if queue.mode.value == "Paused":
            self.verdict.broken("paused", request, f"queue {queue.name} reserved {len(added)} attempts while paused")
        for key in sorted(added):
            checked["accepted-first"] += 1
            checked["one-reservation"] += 1
            uid, number = key
            if uid in held_twice:
                self.verdict.broken("one-reservation", request, f"{uid} got a slot for attempt {number} beside another")
            job = self.cluster.jobs.get(uid)
            if job is not None and self.cluster.unanswered.may_have_changed(job.name, job.now.received, request):
                continue
            if job is None or job.now.sequence is None:
                self.verdict.broken("accepted-first", request, f"{uid} attempt {number} was reserved unaccepted")
            elif job.queue != queue.name:
                message = f"{job.name} was reserved in queue {queue.name}, but {job.queue} had accepted it"
                self.verdict.broken("accepted-first", request, message)
            else:
                self._check_job(job, number, request)
        self.order.check(queue, added, request)

    def _check_job(self, job: Job, number: int, request: Request) -> None:
        verdict, terms, now = self.verdict, self.terms, job.now
        verdict.checked["not-before"] += 1
        moments = [due or 0.0 for due in job.not_before.possible(job.uid, request, terms)]
        early = min(moments) - request.decided
        if early > terms.clock_seconds:
            verdict.broken("not-before", request, f"{job.name} was reserved {early:.1f} s before its notBefore")
        late = job.cancel_known_seconds(request)
        if late > terms.seen_seconds:
            verdict.broken("cancel", request, f"{job.name} was reserved {late:.1f} s after it was cancelled")
        # Another operator wrote the job while this write was on its way: it could not be known.
        if not job.was_known_to(request, terms):
            return
        verdict.checked["waiting-only"] += 1
        if now.phase != "Queued":
            verdict.broken("waiting-only", request, f"{job.name} was reserved in phase {now.phase}")
        verdict.checked["attempt-once"] += 1
        last = now.attempts[-1] if now.attempts else {}
        goes_on = last.get("attempt") == now.attempt and not last.get("finishedAt")
        if number < now.attempt or (number == now.attempt and not goes_on):
            verdict.broken("attempt-once", request, f"attempt {number} of {job.name} was reserved though it had ended")

    def _removed(self, attempt: Attempt, queue: Queue, request: Request) -> None:
        key = attempt.key
        self.cluster.hold(key, None)
        if not self.terms.by_operator(request.agent):
            attempt.lapsed, attempt.lapsed_queue = request, queue.uid
            return
        uid, number = key
        job = self.cluster.jobs.get(uid)
        name = job.name if job is not None else uid
        self.verdict.checked["released-early"] += 1
        if attempt.live:
            message = f"attempt {number} of {name} gave its slot up while its pod was live"
            self.verdict.broken("released-early", request, message)
        elif attempt.job_exists and not (attempt.suspended or attempt.job_over or attempt.ended):
            message = f"attempt {number} of {name} gave its slot up though its Job may still start a pod"
            self.verdict.broken("released-early", request, message)
        elif attempt.job_uid is None and job is not None and not job.gone and job.now.attempt < number:
            self.verdict.checked["name-occupied"] += 1
            message = f"attempt {number} of {name} gave its slot up before a Job had its name"
            self.verdict.broken("name-occupied", request, message)
        elif attempt.suspended and job is not None and job.now.attempt < number:
            self.verdict.checked["name-occupied"] += 1
