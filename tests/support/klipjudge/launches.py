"""Jobs of attempts: one each, under a reservation, never deleted while their AnalysisJob lives."""

from dataclasses import dataclass, field

from klipjudge.cluster import Attempt, Cluster
from klipjudge.history import Request
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import AttemptKey, attempt_of, queue_of


@dataclass(slots=True)
class Launches:
    """The Jobs, and the rules on them."""

    cluster: Cluster
    verdict: Verdict
    terms: Terms
    _keys: dict[str, AttemptKey] = field(default_factory=dict)
    """Attempt by namespace and name of its Job, for deletions that are answered without the object."""

    def take(self, request: Request) -> None:
        """A write to a Job or its status."""
        metadata = request.answer.get("metadata") or {}
        name = f"{request.namespace}/{metadata.get('name') or request.name}"
        key = attempt_of(metadata) or self._keys.get(name)
        if key is None:
            return
        attempt = self.cluster.attempt(key)
        if request.verb in ("delete", "deletecollection"):
            self._deleted(attempt, request)
        elif metadata:
            self._keys[name] = key
            self._written(attempt, request)

    def _written(self, attempt: Attempt, request: Request) -> None:
        answer = request.answer
        uid = answer["metadata"]["uid"]
        suspended = bool((answer.get("spec") or {}).get("suspend"))
        if request.verb == "create":
            self.verdict.checked["one-job"] += 1
            if attempt.job_uid is not None and attempt.job_uid != uid:
                self._check_again(attempt, request)
        if not suspended and (
            request.verb == "create" or (attempt.suspended and self.terms.by_operator(request.agent))
        ):
            self._check_start(attempt, request)
        if uid != attempt.job_uid:
            attempt.job_over = attempt.job_complete = False
        attempt.job_uid, attempt.suspended = uid, suspended
        attempt.job_exists = "deletionTimestamp" not in answer["metadata"] or bool(answer["metadata"].get("finalizers"))
        for condition in (answer.get("status") or {}).get("conditions") or ():
            if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
                attempt.job_over = True
                attempt.job_complete |= condition["type"] == "Complete"

    def _check_again(self, attempt: Attempt, request: Request) -> None:
        """A second Job of an attempt.

        Allowed only if the first was deleted by somebody else before its uid was recorded (docs/guarantees.md). Where
        the AnalysisJob was deleted as well, a create that was frozen on its way is not promised against.
        """
        uid, number = attempt.key
        job = self.cluster.jobs.get(uid)
        if job is not None and job.gone:
            return
        recorded = job is not None and any(entry.get("jobUID") == attempt.job_uid for entry in job.now.attempts)
        if attempt.job_exists or recorded:
            self.verdict.broken("one-job", request, f"attempt {number} of {uid} has a second Job")

    def _check_start(self, attempt: Attempt, request: Request) -> None:
        """A Job is made that may run, or resumed."""
        name = request.answer["metadata"]["name"]
        done = "created" if request.verb == "create" else "resumed"
        job = self.cluster.jobs.get(attempt.key[0])
        self.verdict.checked["reserved-first"] += 1
        perhaps = attempt.key in self.cluster.unanswered.reservations
        lapsed = attempt.held_by is None and self._lapsed(attempt, request)
        reserved = attempt.held_by is not None or perhaps or lapsed
        if lapsed:
            queue = self.cluster.queue(f"{request.namespace}/{queue_of(request.answer['metadata'])}")
            attempt.unforeseen = request.verb == "create" and queue.initialized
        # Not promised: an AnalysisJob deleted by hand while its operator is frozen inside the create.
        if not reserved and not (job is not None and job.gone):
            self.verdict.broken("reserved-first", request, f"Job {name} was {done} without a reservation")
        late = job.cancel_known_seconds(request) if job is not None else 0.0
        if job is not None and late > self.terms.seen_seconds:
            message = f"Job {name} was {done} {late:.1f} s after {job.name} was cancelled"
            self.verdict.broken("cancel", request, message)

    def _lapsed(self, attempt: Attempt, request: Request) -> bool:
        """Whether its reservation was taken away by somebody else, and the sender could not know it yet."""
        lapsed = attempt.lapsed
        if lapsed is None:
            return False
        late = request.decided - lapsed.completed
        return late < self.terms.seen_seconds or not request.told_of(attempt.lapsed_queue, lapsed.revision)

    def _deleted(self, attempt: Attempt, request: Request) -> None:
        metadata = request.answer.get("metadata") or {}
        if self.terms.by_operator(request.agent):
            self.verdict.checked["job-kept"] += 1
            job = self.cluster.jobs.get(attempt.key[0])
            if job is not None and not job.gone:
                message = f"the operator deleted the Job of attempt {attempt.key[1]} of {job.name}"
                self.verdict.broken("job-kept", request, message)
        attempt.job_exists = bool(metadata.get("finalizers"))
