"""Judges from the audit log alone whether the queue kept its promises. Shares no code with the operator.

The store's revisions order all writes of a cluster, so what held at a revision is known exactly: every rule is
checked after every write. Clocks only matter where a user's patch and a reservation meet.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from klipjudge.history import Request, in_store_order, seconds

GROUP = "analysis.klipstream.io"
FINISHED = frozenset({"Succeeded", "Failed", "Cancelled", "Rejected"})
PRIORITIES = {"URGENT": 4, "HIGH": 3, "NORMAL": 2, "LOW": 1}
PATCH_SEEN_SECONDS = 1.0
"""A priority patched by a user reaches the operator through its watch: until then either value may decide."""

Rank = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and where."""

    rule: str
    revision: int
    message: str


@dataclass(slots=True)
class Verdict:
    """What the log shows."""

    violations: list[Violation] = field(default_factory=list)
    most_live: int = 0
    """Most worker pods of one queue that were live at one revision."""
    jobs: int = 0
    """AnalysisJobs seen."""
    phases: dict[str, int] = field(default_factory=dict)
    """Count of AnalysisJobs by their last phase."""
    reservations: int = 0
    """Entries that appeared in a queue's status.admitted."""

    def count(self, rule: str) -> int:
        """How often a rule was broken."""
        return sum(1 for violation in self.violations if violation.rule == rule)


@dataclass(slots=True)
class _Job:
    """An AnalysisJob as the last write left it."""

    name: str
    queue: str | None = None
    phase: str = ""
    sequence: int | None = None
    written: float = 0.0
    """When the answer to its last write was complete."""
    priority: int = 0
    priority_before: int = 0
    priority_changed: float = 0.0
    not_before: str | None = None
    withdrawn: bool = False
    """Cancelled or deleted: it waits for nothing any more."""

    def ranks(self, at: float) -> list[Rank]:
        """Its rank, and the one before a patch that may not have been seen at that moment; lower comes first."""
        assert self.sequence is not None
        values = [self.priority]
        if at < self.priority_changed + PATCH_SEEN_SECONDS:
            values.append(self.priority_before)
        return sorted((-value, self.sequence) for value in values)


@dataclass(slots=True)
class _Queue:
    limit: int = 0
    highest_limit: int = 0
    admitted: set[tuple[str, int]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Pod:
    queue: str
    job_uid: str


def judge(requests: Iterable[Request]) -> Verdict:
    """Replay the writes in the order of the store and check every rule after each."""
    requests = list(requests)
    state = _Replay(_perhaps_reserved(requests))
    for request in in_store_order(requests):
        match request.resource:
            case "pods" if request.subresource != "binding":
                state.pod(request)
            case "jobs.batch":
                state.batch_job(request)
            case "analysisjobs.analysis.klipstream.io":
                state.analysis_job(request)
            case "analysisqueues.analysis.klipstream.io":
                state.analysis_queue(request)
    return state.finish()


def _perhaps_reserved(requests: Iterable[Request]) -> set[tuple[str, int]]:
    """Reservations of writes whose sender was killed before the answer: a successor that read them may use them."""
    admitted = (
        entry
        for request in requests
        if request.resource == "analysisqueues.analysis.klipstream.io" and request.asked
        for entry in (request.asked.get("status") or {}).get("admitted") or ()
    )
    return {(entry["uid"], entry["attempt"]) for entry in admitted}


class _Replay:
    def __init__(self, perhaps_reserved: set[tuple[str, int]]) -> None:
        self.perhaps_reserved = perhaps_reserved
        self.verdict = Verdict()
        self.jobs: dict[str, _Job] = {}
        self.queues: defaultdict[str, _Queue] = defaultdict(_Queue)
        self.live: dict[str, _Pod] = {}
        self.reserved_ever: set[tuple[str, int]] = set()
        self.batch_uids: defaultdict[tuple[str, int], set[str]] = defaultdict(set)

    # --- pods: the limit, and one at a time per job ------------------------------------------------------

    def pod(self, request: Request) -> None:
        metadata = request.answer.get("metadata") or {}
        attempt = _attempt(metadata)
        uid = metadata.get("uid")
        if attempt is None or not uid:
            return
        if not _pod_is_live(request):
            self.live.pop(uid, None)
            return
        if uid in self.live:
            return
        queue = f"{request.namespace}/{metadata['labels'].get(f'{GROUP}/queue', '')}"
        self.live[uid] = _Pod(queue, attempt[0])
        of_queue = sum(1 for pod in self.live.values() if pod.queue == queue)
        of_job = sum(1 for pod in self.live.values() if pod.job_uid == attempt[0])
        self.verdict.most_live = max(self.verdict.most_live, of_queue)
        limit = self.queues[queue].highest_limit
        if of_queue > limit:
            self._broken("limit", request, f"{of_queue} live worker pods of queue {queue}, at most {limit} allowed")
        if of_job > 1:
            self._broken("one-pod", request, f"{of_job} live pods of AnalysisJob {attempt[0]}")

    # --- Jobs: one per attempt, only after its reservation -----------------------------------------------

    def batch_job(self, request: Request) -> None:
        metadata = request.answer.get("metadata") or {}
        attempt = _attempt(metadata)
        if request.verb != "create" or attempt is None:
            return
        uids = self.batch_uids[attempt]
        uids.add(metadata["uid"])
        if len(uids) > 1:
            self._broken("one-job", request, f"attempt {attempt[1]} of {attempt[0]} has {len(uids)} Jobs")
        known = attempt in self.reserved_ever or attempt in self.perhaps_reserved
        if not known and not request.answer["spec"].get("suspend"):
            self._broken("reserved-first", request, f"Job {metadata['name']} was created without a reservation")

    # --- AnalysisJobs: where each stands -----------------------------------------------------------------

    def analysis_job(self, request: Request) -> None:
        metadata = request.answer.get("metadata") or {}
        uid = metadata.get("uid")
        if not uid:
            if request.verb == "delete":
                self._deleted(request)
            return
        spec, status = request.answer.get("spec") or {}, request.answer.get("status") or {}
        new = uid not in self.jobs
        job = self.jobs.setdefault(uid, _Job(f"{request.namespace}/{metadata['name']}"))
        priority = PRIORITIES[spec.get("priority", "NORMAL")]
        if not new and priority != job.priority:
            job.priority_before, job.priority_changed = job.priority, request.completed
        job.priority = priority
        job.queue = f"{request.namespace}/{status['queueName']}" if status.get("queueName") else None
        job.phase = status.get("phase", "")
        job.sequence = status.get("sequence")
        job.written = request.completed
        job.not_before = spec.get("notBefore")
        job.withdrawn = bool(spec.get("cancel")) or "deletionTimestamp" in metadata or request.verb == "delete"
        if request.verb == "delete" and not metadata.get("finalizers"):
            del self.jobs[uid]

    def _deleted(self, request: Request) -> None:
        """The answer to a deletion names no uid: the object with that name is gone."""
        name = f"{request.namespace}/{request.name}"
        for uid in [uid for uid, job in self.jobs.items() if job.name == name]:
            del self.jobs[uid]

    # --- AnalysisQueues: reservations in order, never more than the limit ------------------------------------

    def analysis_queue(self, request: Request) -> None:
        metadata = request.answer.get("metadata") or {}
        if not metadata.get("name"):
            return
        key = f"{request.namespace}/{metadata['name']}"
        queue = self.queues[key]
        queue.limit = (request.answer.get("spec") or {}).get("maxConcurrentJobs", 0)
        queue.highest_limit = max(queue.highest_limit, queue.limit)
        entries = (request.answer.get("status") or {}).get("admitted") or []
        admitted = {(entry["uid"], int(entry["attempt"])) for entry in entries}
        added = admitted - queue.admitted
        if len(entries) != len(admitted):
            self._broken("one-reservation", request, f"an attempt is reserved twice in queue {key}")
        if added and len(admitted) > queue.limit:
            self._broken("overcommit", request, f"{len(admitted)} reservations in queue {key}, limit {queue.limit}")
        if added:
            self._check_order(key, queue, admitted, added, request)
        self.verdict.reservations += len(added)
        self.reserved_ever |= added
        queue.admitted = admitted

    def _check_order(
        self, key: str, queue: _Queue, admitted: set[tuple[str, int]], added: set[tuple[str, int]], request: Request
    ) -> None:
        """No job that waits now, accepted before this write, comes before one that was taken."""
        holding = {uid for uid, _ in queue.admitted | admitted}
        waiting = [job for uid, job in self.jobs.items() if uid not in holding and _waits(job, key, request)]
        first = min(waiting, key=lambda job: job.ranks(request.received)[-1], default=None)
        for uid, attempt in sorted(added):
            job = self.jobs.get(uid)
            if job is None or job.sequence is None:
                self._broken("accepted-first", request, f"{uid} attempt {attempt} was reserved before its acceptance")
            elif first is not None and first.ranks(request.received)[-1] < job.ranks(request.received)[0]:
                known = (request.received - first.written) * 1000
                told = f"answered {known:.1f} ms before the reservation came in"
                if known < 0:
                    told = f"committed before the reservation, answered {-known:.1f} ms after that came in"
                message = f"{job.name} was taken while {first.name} came first (its last write was {told})"
                self._broken("inversion", request, message)

    def finish(self) -> Verdict:
        """The end of the log: nothing may be left unfinished."""
        self.verdict.jobs = len(self.jobs)
        for job in self.jobs.values():
            phase = job.phase or "unknown"
            self.verdict.phases[phase] = self.verdict.phases.get(phase, 0) + 1
            if phase not in FINISHED:
                message = f"AnalysisJob {job.name} ended in phase {phase}"
                self.verdict.violations.append(Violation("unfinished", 0, message))
        return self.verdict

    def _broken(self, rule: str, request: Request, message: str) -> None:
        self.verdict.violations.append(Violation(rule, request.revision, message))


def _attempt(metadata: Mapping[str, Any]) -> tuple[str, int] | None:
    """(uid of the AnalysisJob, attempt) from the labels of a Job or a pod of ours."""
    labels = metadata.get("labels") or {}
    uid = labels.get(f"{GROUP}/job-uid")
    return (uid, int(labels[f"{GROUP}/attempt"])) if uid else None


def _pod_is_live(request: Request) -> bool:
    """Whether a pod could still be running after this write: not ended, and not yet gone."""
    answer = request.answer
    if (answer.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    metadata = answer["metadata"]
    going = request.verb in ("delete", "deletecollection") or "deletionTimestamp" in metadata
    graceful = "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds") != 0
    return not going or graceful or bool(metadata.get("finalizers"))


def _waits(job: _Job, queue: str, request: Request) -> bool:
    """Whether a job could have been taken by a reservation in that queue."""
    if job.queue != queue or job.phase != "Queued" or job.sequence is None or job.withdrawn:
        return False
    return job.not_before is None or seconds(job.not_before) <= request.received
