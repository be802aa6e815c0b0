"""Worker pods: never more than the limit, never two of one AnalysisJob, and when a lost one may be given up."""

import math
from dataclasses import dataclass, field
from typing import Any

from klipjudge.cluster import Attempt, Cluster, Queue
from klipjudge.history import Request, seconds
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import attempt_of, queue_of

ENDED = frozenset({"Succeeded", "Failed"})
CLEAR_STUCK_SECONDS = 60.0
"""After clear-stuck, a pod that has been terminating for that long counts as lost."""


@dataclass(frozen=True, slots=True)
class _Pod:
    attempt: Attempt
    queue: Queue


@dataclass(slots=True)
class Pods:
    """The live pods, and the rules on them."""

    cluster: Cluster
    verdict: Verdict
    terms: Terms
    _live: dict[str, _Pod] = field(default_factory=dict)
    _of_job: dict[str, int] = field(default_factory=dict)
    """Live pods by uid of the AnalysisJob."""
    _uids: dict[str, str] = field(default_factory=dict)
    """Uid by namespace and name, for deletions that are answered without the object."""
    _given_up: set[str] = field(default_factory=set)
    """Pods that an operator ended with their node: what the node still says of them counts no more (rule 4)."""

    def take(self, request: Request) -> None:
        """A write to a pod."""
        metadata = request.answer.get("metadata")
        if not metadata:
            if request.verb == "delete":
                self._remove(self._uids.pop(f"{request.namespace}/{request.name}", ""))
            return
        key = attempt_of(metadata)
        uid = metadata.get("uid")
        if key is None or not uid:
            return
        status = request.answer.get("status") or {}
        phase = status.get("phase")
        if phase in ENDED:
            self._ended(uid, self.cluster.attempt(key), status, request)
            self._remove(uid)
        elif not _stays(request.verb, metadata):
            self._remove(uid)
        elif uid not in self._live and uid not in self._given_up:
            self._add(uid, self.cluster.attempt(key), request)

    def live(self, job_uid: str) -> int:
        """How many pods of an AnalysisJob are live."""
        return self._of_job.get(job_uid, 0)

    def _ended(self, uid: str, attempt: Attempt, status: dict[str, Any], request: Request) -> None:
        attempt.ended = True
        if status["phase"] == "Succeeded":
            attempt.succeeded = True
        elif uid in self._live and status.get("reason") == "NodeLost" and self.terms.by_operator(request.agent):
            self._given_up.add(uid)
            states = (container.get("state") or {} for container in status.get("containerStatuses") or ())
            attempt.lost = not any("terminated" in state for state in states)
            self._check_lost(uid, request)

    def _check_lost(self, uid: str, request: Request) -> None:
        self.verdict.checked["lost-node"] += 1
        deleted_at = request.answer["metadata"].get("deletionTimestamp")
        name = request.answer["metadata"]["name"]
        if deleted_at is None:
            self.verdict.broken("lost-node", request, f"pod {name} was given up though nobody had deleted it")
            return
        queue = self._live[uid].queue
        wait = min(queue.lost_after.possible(queue.uid, request, self.terms))
        if queue.cleared_stuck and wait < math.inf:
            wait = min(wait, CLEAR_STUCK_SECONDS)
        early = seconds(deleted_at) + wait - self.terms.clock_seconds - request.decided
        if early > 0:
            self.verdict.broken("lost-node", request, f"pod {name} was given up {early:.1f} s too early")

    def _add(self, uid: str, attempt: Attempt, request: Request) -> None:
        metadata = request.answer["metadata"]
        queue = self.cluster.queue(f"{request.namespace}/{queue_of(metadata)}")
        job_uid = attempt.key[0]
        self._live[uid] = _Pod(attempt, queue)
        self._uids[f"{request.namespace}/{metadata['name']}"] = uid
        attempt.live += 1
        queue.live += 1
        of_job = self._of_job[job_uid] = self._of_job.get(job_uid, 0) + 1
        self.verdict.most_live = max(self.verdict.most_live, queue.live)
        self.verdict.checked["limit"] += 1
        self.verdict.checked["one-pod"] += 1
        since = attempt.reserved_revision
        limit = queue.highest_limit_since(since if since is not None else request.revision)
        if queue.live > limit and queue.live - self._unforeseen(queue) > limit:
            message = f"{queue.live} live worker pods of queue {queue.name}, at most {limit} allowed"
            self.verdict.broken("limit", request, message)
        if of_job > 1:
            self.verdict.broken("one-pod", request, f"{of_job} live pods of AnalysisJob {job_uid}")

    def _remove(self, uid: str) -> None:
        pod = self._live.pop(uid, None)
        if pod is not None:
            pod.attempt.live -= 1
            pod.queue.live -= 1
            self._of_job[pod.attempt.key[0]] -= 1

    def _unforeseen(self, queue: Queue) -> int:
        """Live pods of the queue that are not promised against."""
        return sum(1 for pod in self._live.values() if pod.queue is queue and pod.attempt.unforeseen)


def _stays(verb: str, metadata: dict[str, Any]) -> bool:
    """Whether a pod that has not ended is still there after this write, and so could be running."""
    deleted = "deletionTimestamp" in metadata
    if not deleted and verb not in ("delete", "deletecollection"):
        return True
    graceful = deleted and metadata.get("deletionGracePeriodSeconds") != 0
    return graceful or bool(metadata.get("finalizers"))
