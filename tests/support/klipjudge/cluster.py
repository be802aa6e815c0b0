"""What the store holds at one revision, as far as the rules need it; built up write by write."""

import heapq
import json
from dataclasses import dataclass, field
from typing import Any

from klipjudge.history import Request, seconds
from klipjudge.patched import Patched
from klipjudge.unanswered import Unanswered
from klipjudge.verdict import Terms
from klipjudge.vocabulary import DEFAULT_LANE, DEFAULT_LOST_AFTER_SECONDS, DEFAULT_MAX_RETRIES, PRIORITIES, AttemptKey

Rank = tuple[int, int, str]
"""Negative priority, sequence, uid; the lowest comes first."""
NO_STRINGS: frozenset[str] = frozenset()


@dataclass(slots=True)
class JobVersion:
    """An AnalysisJob as one write left it."""

    phase: str
    sequence: int | None
    attempt: int
    retries: int
    losses: int
    replay: int
    observed_replay: int
    cancel: bool
    deleting: bool
    progress: dict[str, Any] | None
    attempts: list[dict[str, Any]]
    stopping: bool
    status: dict[str, Any]
    revision: int
    received: float
    """When the write came."""
    completed: float
    """When the answer to it was complete."""
    agent: str


@dataclass(slots=True)
class Job:
    """An AnalysisJob over its life."""

    uid: str
    name: str
    created_at: float
    """creationTimestamp, in whole seconds."""
    created_revision: int
    created_completed: float
    now: JobVersion
    priority: Patched[int]
    not_before: Patched[float | None]
    max_retries: Patched[int | None]
    lane: str = DEFAULT_LANE
    """Jobs that ask for the same resources share it; where the cluster has no room, others may pass them."""
    lane_revision: int = 0
    """The write that changed it last."""
    queue: str | None = None
    cancelled_at: float | None = None
    """When the answer to the write that cancelled it was complete."""
    cancelled_revision: int = 0
    finished_at: float | None = None
    """When the answer to the write of its final phase was complete."""
    accepted: Request | None = None
    """The write that accepted it first."""
    first_sequence: int = 0
    changed_unseen: bool = False
    """Somebody changed it before it had its place, so late that the operator cannot have been looking."""
    changed_revision: int = 0
    """The first such change, however early it came; 0 where there was none."""
    burnt: int = 0
    """Attempts since the last replay that ended in a way that burns a retry."""
    holds: int = 0
    """Reservations it has."""
    rank: Rank | None = None
    """Its place while it waits for a slot."""
    waits_since: int = 0
    """Revision of the write that put it into phase Queued, or accepted it."""
    waits_by: str = ""
    """Who sent that."""
    waits_answered: float = 0.0
    """When the answer to that was complete."""
    gone: bool = False

    def was_known_to(self, request: Request, terms: Terms) -> bool:
        """Whether the sender of a request could know that it waits: it wrote that itself, or was told in time.

        Where nobody knows what was told, a watch has as long as for what users change.
        """
        if self.waits_by == request.agent:
            return True
        told = 0.0 if request.seen is not None else terms.seen_seconds
        return self.waits_answered + told <= request.decided and request.told_of(self.uid, self.waits_since)

    def cancel_known_seconds(self, request: Request) -> float:
        """How long the sender of a request had known of the cancel; negative where it had not."""
        if self.cancelled_at is None or not request.told_of(self.uid, self.cancelled_revision):
            return float("-inf")
        return request.decided - self.cancelled_at


@dataclass(slots=True)
class Queue:
    """An AnalysisQueue over its life; a new one of the same name goes on where the old one was."""

    name: str
    limit: int
    mode: Patched[str]
    size: Patched[int]
    max_retries: Patched[int]
    lost_after: Patched[float]
    """Seconds that a pod on a silent node keeps its slot; infinite where it is not released."""
    limits: list[tuple[int, int]] = field(default_factory=list)
    """The limits so far: (revision, limit)."""
    initialized: bool = False
    admitted: frozenset[AttemptKey] = frozenset()
    short: frozenset[str] = NO_STRINGS
    """Shapes of jobs that the cluster has no room for."""
    uid: str = ""
    cleared_at: float = 0.0
    cleared_stuck: bool = False
    live: int = 0
    """Live pods."""
    waiting: int = 0
    """Jobs that wait for a slot."""
    backlog: list[Rank] = field(default_factory=list)
    """A heap; entries whose job has another rank by now are void."""
    requeued: list[float] = field(default_factory=list)
    """When jobs came back to wait once more."""
    sequences: dict[int, str] = field(default_factory=dict)
    """Uid by sequence."""
    accepted: list[Job] = field(default_factory=list)

    def highest_limit_since(self, revision: int) -> int:
        """The highest limit in force from that revision on."""
        highest = 0
        for since, limit in reversed(self.limits):
            highest = max(highest, limit)
            if since <= revision:
                break
        return highest


@dataclass(slots=True)
class Attempt:
    """One attempt: its reservation, its Job and its pods."""

    key: AttemptKey
    reserved_revision: int | None = None
    """Where its last reservation appeared."""
    held_by: str | None = None
    """The queue whose list it stands in."""
    lapsed: Request | None = None
    """The write by which somebody else than an operator took its reservation away, with the queue or its status."""
    lapsed_queue: str = ""
    """Uid of that queue."""
    unforeseen: bool = False
    """Its Job was created after its reservation had lapsed, and after the next queue of that name had been looked over:
    a create that was frozen while its queue was deleted. That is not promised against."""
    job_uid: str | None = None
    job_exists: bool = False
    suspended: bool = False
    job_over: bool = False
    """Its Job is complete or failed."""
    job_complete: bool = False
    live: int = 0
    """Live pods."""
    ended: bool = False
    """A pod of it has ended."""
    succeeded: bool = False
    lost: bool = False
    """A pod of it was given up with its node, and no container of it had ended by itself."""


@dataclass(slots=True)
class Cluster:
    """All of it."""

    unanswered: Unanswered
    jobs: dict[str, Job] = field(default_factory=dict)
    """By uid; those that are gone stay."""
    uids: dict[str, str] = field(default_factory=dict)
    """Uid of the AnalysisJob that has the name now."""
    queues: dict[str, Queue] = field(default_factory=dict)
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict)

    def attempt(self, key: AttemptKey) -> Attempt:
        """The record of an attempt."""
        attempt = self.attempts.get(key)
        if attempt is None:
            attempt = self.attempts[key] = Attempt(key, self.unanswered.reservations.get(key))
        return attempt

    # --- AnalysisJobs ----------------------------------------------------------------------------------------

    def put_job(self, uid: str, request: Request) -> tuple[Job, JobVersion | None]:
        """Take in an AnalysisJob: what is known of it, and its version before this write."""
        answer = request.answer
        metadata, spec = answer["metadata"], answer.get("spec") or {}
        version = _version(metadata, spec, answer.get("status") or {}, request)
        job = self.jobs.get(uid)
        at = request.completed
        aged = version.status.get("effectivePriority")
        priority = PRIORITIES[spec.get("priority", "NORMAL")]
        if aged is not None:
            priority = max(priority, PRIORITIES[aged])
        due = spec.get("notBefore")
        not_before = seconds(due) if due is not None else None
        before = None
        if job is None:
            name = f"{request.namespace}/{metadata['name']}"
            created = metadata.get("creationTimestamp")
            job = self.jobs[uid] = Job(
                uid, name, seconds(created) if created else request.received, request.revision, at, version,
                Patched(priority), Patched(not_before), Patched(spec.get("maxRetries")),
            )  # fmt: skip
            self.uids[name] = uid
        else:
            before = job.now
            job.now = version
            job.priority.put(priority, request)
            job.not_before.put(not_before, request)
            job.max_retries.put(spec.get("maxRetries"), request)
        resources = spec.get("resources")
        lane = DEFAULT_LANE if resources is None else json.dumps(resources, sort_keys=True)
        if lane != job.lane:
            job.lane, job.lane_revision = lane, request.revision
        queue = version.status.get("queueName")
        job.queue = f"{request.namespace}/{queue}" if queue else None
        if version.cancel and job.cancelled_at is None:
            job.cancelled_at, job.cancelled_revision = at, request.revision
        if before is None or before.phase != version.phase or before.sequence != version.sequence:
            job.waits_since, job.waits_by, job.waits_answered = request.revision, request.agent, at
        self.place(job)
        return job, before

    def remove_job(self, job: Job) -> None:
        """It is gone from the store."""
        job.gone = True
        if self.uids.get(job.name) == job.uid:
            del self.uids[job.name]
        self.place(job)

    def place(self, job: Job) -> None:
        """Put a job into its queue's backlog or take it out, as it now is."""
        now = job.now
        rank = None
        if (
            now.phase == "Queued"
            and now.sequence is not None
            and not job.holds
            and job.queue is not None
            and not (now.cancel or now.deleting or job.gone)
        ):
            rank = (-job.priority.value, now.sequence, job.uid)
        if rank == job.rank:
            return
        if job.queue is not None:
            queue = self.queue(job.queue)
            queue.waiting += (rank is not None) - (job.rank is not None)
            if rank is not None:
                heapq.heappush(queue.backlog, rank)
        job.rank = rank

    def first(self, queue: Queue) -> Job | None:
        """The job that comes first of those that wait."""
        heap = queue.backlog
        while heap:
            job = self.jobs[heap[0][2]]
            if job.rank == heap[0]:
                return job
            heapq.heappop(heap)
        return None

    # --- AnalysisQueues --------------------------------------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """A queue by namespace/name; one that was never seen has no slots."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(
                name, 0, Patched("Running"), Patched(100), Patched(DEFAULT_MAX_RETRIES),
                Patched(DEFAULT_LOST_AFTER_SECONDS),
            )  # fmt: skip
        return queue

    def hold(self, key: AttemptKey, queue: str | None) -> None:
        """An attempt got a reservation in that queue, or (None) has none any more."""
        attempt = self.attempt(key)
        job = self.jobs.get(key[0])
        if job is not None:
            job.holds += (queue is not None) - (attempt.held_by is not None)
            self.place(job)
        attempt.held_by = queue
        if queue is not None:
            attempt.lapsed, attempt.unforeseen = None, False


def _version(metadata: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], request: Request) -> JobVersion:
    get = status.get
    return JobVersion(
        get("phase", ""),
        get("sequence"),
        get("attempt", 0),
        get("retries", 0),
        get("infrastructureLosses", 0),
        spec.get("replay", 0),
        get("observedReplay", 0),
        bool(spec.get("cancel")),
        request.verb == "delete" or "deletionTimestamp" in metadata,
        get("progress"),
        get("attempts") or [],
        get("stop") is not None,
        status,
        request.revision,
        request.received,
        request.completed,
        request.agent,
    )
