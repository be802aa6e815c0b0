"""What the gateway knows of jobs and queues: a picture of the API server, never the truth itself.

An older version of an object never replaces a newer one: the answers to our own writes come in before the watch
repeats them, and the watch must not take them back.
"""

import heapq
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from klipstream_api import AnalysisJob, AnalysisQueue, Phase
from klipstream_api.meta import condition
from klipstream_queueing.line import Line
from klipstream_queueing.outlook import expected_rank, stands_in_line
from klipstream_queueing.routing import route

TOMBSTONES = 10_000


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job as it is now, or as it was last seen where it is gone."""

    version: int
    job: AnalysisJob
    gone: bool = False


@dataclass(frozen=True, slots=True)
class QueueChange:
    """A queue as it is now."""

    version: int
    queue: AnalysisQueue
    gone: bool = False


Change = JobChange | QueueChange
Listener = Callable[[Change], None]


def version(obj: AnalysisJob | AnalysisQueue) -> int:
    """resourceVersion as a number."""
    return int(obj.metadata.resource_version)


@dataclass(slots=True)
class Cache:
    """Jobs and queues of one namespace, and the order in which jobs wait."""

    now: Callable[[], datetime]
    jobs: dict[str, AnalysisJob] = field(default_factory=dict)
    """By uid."""
    queues: dict[str, AnalysisQueue] = field(default_factory=dict)
    """By name."""
    lines: defaultdict[str, Line] = field(default_factory=lambda: defaultdict(Line))
    """Those that wait, by name of their queue."""
    of_queue: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Uids of the jobs of a queue."""
    phases: defaultdict[str, Counter[Phase]] = field(default_factory=lambda: defaultdict(Counter))
    changed: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Counts up with each change that moves a queue's line or its slots."""
    unreadable: set[str] = field(default_factory=set)
    """Uids of objects that another version of this software wrote and this one cannot read."""
    listeners: list[Listener] = field(default_factory=list)
    _by_id: dict[str, set[str]] = field(default_factory=dict)
    _queue_of: dict[str, str | None] = field(default_factory=dict)
    _later: dict[str, datetime] = field(default_factory=dict)
    """Jobs that are not due yet."""
    _due: list[tuple[datetime, str]] = field(default_factory=list)
    """A heap of them; an entry that `_later` does not confirm is stale."""
    _deleted: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Uids of deleted objects: a late answer must not bring them back."""

    # --- taking in -------------------------------------------------------------------------------------------

    def put_job(self, obj: dict[str, Any]) -> AnalysisJob | None:
        """Take in an AnalysisJob as the API server sent it; what is held of it afterwards."""
        try:
            job = AnalysisJob.from_wire(obj)
        except ValidationError:
            self.unreadable.add(str(obj.get("metadata", {}).get("uid")))
            return None
        self.unreadable.discard(job.uid)
        old = self.jobs.get(job.uid)
        if job.uid in self._deleted:
            return None
        if old is not None and version(old) >= version(job):
            return old
        self.jobs[job.uid] = job
        self._by_id.setdefault(job.job_id, set()).add(job.uid)
        self._place(job, old)
        self._tell(JobChange(version(job), job))
        return job

    def remove_job(self, obj: dict[str, Any]) -> None:
        """An AnalysisJob was deleted."""
        metadata = obj["metadata"]
        uid = str(metadata["uid"])
        self._bury(uid)
        self.unreadable.discard(uid)
        job = self.jobs.pop(uid, None)
        if job is None:
            return
        same = self._by_id.get(job.job_id, set())
        same.discard(uid)
        if not same:
            self._by_id.pop(job.job_id, None)
        self._unplace(job)
        self._tell(JobChange(int(metadata["resourceVersion"]), job, gone=True))

    def put_queue(self, obj: dict[str, Any]) -> AnalysisQueue | None:
        """Take in an AnalysisQueue; what is held of it afterwards."""
        try:
            queue = AnalysisQueue.from_wire(obj)
        except ValidationError:
            self.unreadable.add(str(obj.get("metadata", {}).get("uid")))
            return None
        self.unreadable.discard(queue.metadata.uid)
        name = queue.metadata.name
        old = self.queues.get(name)
        if queue.metadata.uid in self._deleted:
            return None
        if old is not None and old.metadata.uid == queue.metadata.uid and version(old) >= version(queue):
            return old
        self.queues[name] = queue
        self.changed[name] += 1
        if old is None or _routing(old) != _routing(queue):
            self._route_anew()
        self._tell(QueueChange(version(queue), queue))
        return queue

    def remove_queue(self, obj: dict[str, Any]) -> None:
        """An AnalysisQueue was deleted."""
        metadata = obj["metadata"]
        self._bury(str(metadata["uid"]))
        self.unreadable.discard(str(metadata["uid"]))
        queue = self.queues.get(metadata["name"])
        if queue is not None and queue.metadata.uid == metadata["uid"]:
            del self.queues[metadata["name"]]
            self._route_anew()
            self._tell(QueueChange(int(metadata["resourceVersion"]), queue, gone=True))

    def _bury(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > TOMBSTONES:
            self._deleted.popitem(last=False)

    def _tell(self, change: Change) -> None:
        for listener in self.listeners:
            listener(change)

    # --- asking ----------------------------------------------------------------------------------------------

    def by_id(self, job_id: str) -> AnalysisJob | None:
        """The job of an id; the one that was there first where a restore gave an id twice."""
        jobs = (self.jobs[uid] for uid in self._by_id.get(job_id, ()))
        return min(jobs, key=lambda job: (job.metadata.creation_timestamp, job.uid), default=None)

    def queue_name(self, job: AnalysisJob) -> str | None:
        """The queue that accepted the job, or that will."""
        return job.status.queue_name or route(job, self.queues.values())

    def line(self, queue: str) -> Line:
        """Those that wait in a queue; jobs whose notBefore has come are among them."""
        now = self.now()
        while self._due and self._due[0][0] <= now:
            due, uid = heapq.heappop(self._due)
            if self._later.get(uid) == due and (job := self.jobs.get(uid)) is not None:
                self._place(job, job)
        return self.lines[queue]

    def jobs_of(self, queue: str) -> Iterable[AnalysisJob]:
        """The jobs of a queue, in no order."""
        return (self.jobs[uid] for uid in self.of_queue[queue])

    def dead_letters(self) -> list[AnalysisJob]:
        """Jobs that failed for good and are kept."""
        return [job for job in self.jobs.values() if job.status.phase is Phase.FAILED and is_dead_letter(job)]

    # --- order -----------------------------------------------------------------------------------------------

    def _place(self, job: AnalysisJob, old: AnalysisJob | None) -> None:
        if old is not None:
            self._unplace(old, keep_in_line=True)
        queue = self.queue_name(job)
        before = self._queue_of.get(job.uid)
        if before is not None and before != queue and self.lines[before].remove(job.uid):
            self.changed[before] += 1
        self._queue_of[job.uid] = queue
        due = self._later.pop(job.uid, None)
        if queue is None:
            return
        self.of_queue[queue].add(job.uid)
        self.phases[queue][job.status.phase] += 1
        waits = stands_in_line(job, self.now())
        if not waits and job.spec.not_before is not None and stands_in_line(job, job.spec.not_before):
            self._later[job.uid] = job.spec.not_before
            if due != job.spec.not_before:
                heapq.heappush(self._due, (job.spec.not_before, job.uid))
        moved = self.lines[queue].put(expected_rank(job)) if waits else self.lines[queue].remove(job.uid)
        if moved or old is None or old.status.phase is not job.status.phase:
            self.changed[queue] += 1

    def _unplace(self, job: AnalysisJob, keep_in_line: bool = False) -> None:
        queue = self._queue_of.get(job.uid)
        if queue is not None:
            self.phases[queue][job.status.phase] -= 1
            self.of_queue[queue].discard(job.uid)
            if not keep_in_line and self.lines[queue].remove(job.uid):
                self.changed[queue] += 1
        if not keep_in_line:
            self._queue_of.pop(job.uid, None)
            self._later.pop(job.uid, None)

    def _route_anew(self) -> None:
        """A queue came, went, or takes other jobs: those that none has accepted yet may go elsewhere."""
        for job in [job for job in self.jobs.values() if job.status.queue_name is None and job.spec.queue_name is None]:
            self._place(job, job)


def _routing(queue: AnalysisQueue) -> tuple[object, bool]:
    """What routing looks at."""
    return queue.spec.accepts, queue.metadata.deletion_timestamp is None


def is_dead_letter(job: AnalysisJob) -> bool:
    """Whether a failed job is kept for somebody to look into."""
    found = condition(job.status.conditions, "DeadLettered")
    return found is not None and found.status == "True"
