"""All that the operator knows, in memory: rebuilt from the API server at each start, never the truth itself.

Every object is held with its resourceVersion, and an older one never replaces a newer one: answers to our own
writes arrive before the watch repeats them, and the watch must not take them back.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from klipstream_api import (
    FINISHED_PHASES,
    Admitted,
    AnalysisJob,
    AnalysisQueue,
    AnalysisQueueStatus,
    Phase,
    Priority,
    Progress,
)
from klipstream_api.meta import condition
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator.capacity import shape_of
from klipstream_operator.operations import cleared
from klipstream_operator.sharding import Shard
from klipstream_operator.statuses import is_accepted, resumable
from klipstream_operator.stops import gives_back
from klipstream_operator.tombstones import Tombstones
from klipstream_operator.workload import AttemptView, JobView, PodView
from klipstream_queueing.backlog import Backlog
from klipstream_queueing.order import rank

QueueKey = tuple[str, str]
"""Namespace and name."""
AttemptKey = tuple[str, int]
"""Uid of the AnalysisJob and number of the attempt."""


def version(obj: AnalysisJob | AnalysisQueue) -> int:
    """resourceVersion as a number; comparable since Kubernetes 1.35 by contract and always with etcd (KEP-5504)."""
    return int(obj.metadata.resource_version)


def queue_key(job: AnalysisJob) -> QueueKey | None:
    """The queue that accepted the job."""
    name = job.status.queue_name
    return None if name is None else (job.metadata.namespace, name)


@dataclass(slots=True)
class Store:
    """Jobs, queues, attempts and what follows from them.

    `on_job` and `on_queue` are called with what has to be looked at again, and `on_written` with a queue whose writer
    has written what it was about to, which it knows and others do not; they must only take a note.
    """

    on_job: Callable[[str], None]
    on_queue: Callable[[QueueKey], None]
    on_unaccepted: Callable[[], None]
    shard: Shard = field(default_factory=Shard)
    """The queues that are looked after; of others' jobs only those are held that no queue took yet."""
    on_written: Callable[[QueueKey], None] = lambda _: None
    jobs: dict[str, AnalysisJob] = field(default_factory=dict)
    queues: dict[QueueKey, AnalysisQueue] = field(default_factory=dict)
    elsewhere: dict[QueueKey, AnalysisQueue] = field(default_factory=dict)
    """Queues of other shards: a submission may be routed to them."""
    attempts: dict[AttemptKey, AttemptView] = field(default_factory=dict)
    workloads: dict[str, AttemptKey] = field(default_factory=dict)
    """The attempt that a Kubernetes Job or a pod, known by its uid, belongs to."""
    routes: int = 0
    """How often it has changed which queue takes what."""
    unaccepted: set[str] = field(default_factory=set)
    """Jobs that no queue took yet."""
    arrivals: dict[str, int] = field(default_factory=dict)
    """The resourceVersions at which these were first seen: their order, and unique (rule 7)."""
    backlogs: defaultdict[QueueKey, Backlog] = field(default_factory=lambda: defaultdict(Backlog))
    phases: defaultdict[QueueKey, Counter[Phase]] = field(default_factory=lambda: defaultdict(Counter))
    priorities: defaultdict[QueueKey, Counter[Priority]] = field(default_factory=lambda: defaultdict(Counter))
    """Jobs in phase Queued by their own priority."""
    dead_letters: defaultdict[QueueKey, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(dict))
    """Jobs that failed for good and are kept, by fingerprint."""
    reservations: dict[str, dict[QueueKey, frozenset[int]]] = field(default_factory=dict)
    """Attempts that hold a slot, by uid and queue."""
    refused_templates: dict[QueueKey, tuple[int, str | None]] = field(default_factory=dict)
    """Why the API server refuses a queue's worker template (None where it takes it), and the generation it saw."""
    tombstones: Tombstones = field(default_factory=Tombstones)
    """What was deleted, of any kind."""
    releasing: set[str] = field(default_factory=set)
    """Jobs whose only slot is released by the write that is being made: they may be given one by the same write."""
    being_written: dict[QueueKey, AnalysisQueueStatus] = field(default_factory=dict)
    """What queues' writers are writing: its coming back tells them nothing."""
    assumed: set[str] = field(default_factory=set)
    """Jobs taken from a backlog for a reservation that is being written."""
    deleted: set[str] = field(default_factory=set)
    """AnalysisJobs that a live read found gone while they held a reservation."""
    progress: dict[str, Progress] = field(default_factory=dict)
    """Progress that workers posted and that is not written yet, by uid of the AnalysisJob."""
    _later: dict[str, datetime] = field(default_factory=dict)
    """When jobs that wait for their notBefore are due, by uid."""
    _by_moment: list[tuple[datetime, str]] = field(default_factory=list)
    """The same as a heap; entries that `_later` does not repeat are void."""

    # --- AnalysisJobs ----------------------------------------------------------------------------------------

    def put_job(self, job: AnalysisJob, now: datetime) -> bool:
        """Take in an AnalysisJob; False when what we hold is as new."""
        if job.uid in self.tombstones:
            return False
        old = self.jobs.get(job.uid)
        if old is not None:
            if version(old) >= version(job):
                return False
            self._count(old, -1)
        self.jobs[job.uid] = job
        self._count(job, +1)
        self.deleted.discard(job.uid)
        if not is_accepted(job.status) and job.status.phase is Phase.QUEUED:
            self.unaccepted.add(job.uid)
            self.arrivals.setdefault(job.uid, version(job))
            self.on_unaccepted()
        else:
            self.unaccepted.discard(job.uid)
            self.arrivals.pop(job.uid, None)
        self.refresh(job.uid, now)
        self.on_job(job.uid)
        key = queue_key(job)
        if key is not None and not (old is not None and self._goes_on(old, job)):
            self.on_queue(key)
        return True

    def _goes_on(self, old: AnalysisJob, new: AnalysisJob) -> bool:
        """Whether a job merely got on with what it has a slot for, which changes nothing for its queue's writer."""
        begins = old.status.phase is Phase.QUEUED and self.reserved(new.uid) == {new.status.attempt}
        goes_on = old.status.phase in ACTIVE_PHASES and old.status.attempt == new.status.attempt
        return (
            new.status.phase in ACTIVE_PHASES
            and (begins or goes_on)
            and old.status.stop == new.status.stop
            and old.status.queue_name == new.status.queue_name
            and old.metadata.generation == new.metadata.generation
            and old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
        )

    def remove_job(self, uid: str) -> None:
        """Forget an AnalysisJob that was deleted; its reservation stays until nothing of it runs."""
        self.tombstones.add(uid)
        job = self.jobs.pop(uid, None)
        self.unaccepted.discard(uid)
        self.arrivals.pop(uid, None)
        self.progress.pop(uid, None)
        self._later.pop(uid, None)
        if job is not None:
            self._count(job, -1)
            if (key := queue_key(job)) is not None:
                self.backlogs[key].remove(uid)
                self.on_queue(key)
        self.on_job(uid)

    def keep_listed_jobs(self, namespace: str | None, upto: int, listed: set[str]) -> None:
        """Forget AnalysisJobs that a complete list of that resourceVersion does not hold, though it is newer than they.

        A watch that begins anew reports no deletion of what it had never told, such as what a live read brought.
        """
        for uid, job in list(self.jobs.items()):
            if uid not in listed and namespace in (None, job.metadata.namespace) and version(job) <= upto:
                self.remove_job(uid)

    def _count(self, job: AnalysisJob, step: int) -> None:
        key = queue_key(job)
        if key is None:
            return
        self.phases[key][job.status.phase] += step
        self.priorities[key][job.spec.priority] += step if job.status.phase is Phase.QUEUED else 0
        fingerprint = job.status.failure_fingerprint or ""
        dead = condition(job.status.conditions, "DeadLettered")
        groups = self.dead_letters[key]
        if step > 0 and dead is not None and dead.status == "True":
            groups.setdefault(fingerprint, set()).add(job.uid)
        elif (group := groups.get(fingerprint)) is not None:
            group.discard(job.uid)
            if not group:
                del groups[fingerprint]

    def refresh(self, uid: str, now: datetime) -> bool:
        """Put a job into its backlog or take it out, as it now is; True if it was put there anew.

        Whoever calls it because time has passed (a notBefore has come) tells the queue; those who put back what
        they took must not, or they would wake themselves.
        """
        job = self.jobs.get(uid)
        key = queue_key(job) if job is not None else None
        if job is None or key is None:
            return False
        if self._waits(job, self.queues.get(key), now):
            return self.backlogs[key].put(rank(job), shape_of(job))
        self.backlogs[key].remove(uid)
        later = job.spec.not_before
        if later is not None and later > now and self._later.get(uid) != later:
            self._later[uid] = later
            heapq.heappush(self._by_moment, (later, uid))
        return False

    def come_due(self, now: datetime) -> None:
        """Put jobs whose notBefore has come into their backlogs: who reserves must not pass them over, even if it went
        on after a pause in which all timers ran out at once."""
        while self._by_moment and self._by_moment[0][0] <= now:
            moment, uid = heapq.heappop(self._by_moment)
            if self._later.get(uid) != moment:
                continue
            del self._later[uid]
            if self.refresh(uid, now) and (key := queue_key(self.jobs[uid])) is not None:
                self.on_queue(key)

    def _waits(self, job: AnalysisJob, queue: AnalysisQueue | None, now: datetime) -> bool:
        """Whether the job may be reserved: accepted, due, wanted, and holding no slot by any attempt."""
        return (
            job.status.phase is Phase.QUEUED
            and is_accepted(job.status)
            and not job.spec.cancel
            and job.metadata.deletion_timestamp is None
            and (job.spec.not_before is None or job.spec.not_before <= now)
            and not cleared(job, queue)
            and job.uid not in self.assumed
            and (job.uid not in self.reservations or job.uid in self.releasing)
        )

    def queued(self, key: QueueKey, admitted: Iterable[Admitted] | None = None) -> int:
        """Jobs of a queue that wait: accepted, in phase Queued and without a slot, by the reservations as they are
        or by others."""
        uids = self._admitted_uids(key) if admitted is None else {entry.uid for entry in admitted}
        held = sum(1 for uid in uids if self._phase(uid) is Phase.QUEUED)
        return max(0, self.phases[key][Phase.QUEUED] - held)

    def waiting(self, key: QueueKey) -> Counter[Priority]:
        """The jobs that `queued` counts, by their own priority."""
        held = (self.jobs[uid] for uid in self._admitted_uids(key) if self._phase(uid) is Phase.QUEUED)
        return self.priorities[key] - Counter(job.spec.priority for job in held)

    def _admitted_uids(self, key: QueueKey) -> Iterable[str]:
        queue = self.queues.get(key)
        return {entry.uid for entry in queue.status.admitted} if queue is not None else ()

    def _phase(self, uid: str) -> Phase | None:
        job = self.jobs.get(uid)
        return job.status.phase if job is not None else None

    # --- AnalysisQueues --------------------------------------------------------------------------------------

    def put_queue(self, queue: AnalysisQueue, now: datetime) -> bool:
        """Take in an AnalysisQueue and its reservations; False when what we hold is as new."""
        if queue.metadata.uid in self.tombstones:
            return False
        old = self.queue(queue.key)
        if old is not None and old.metadata.uid == queue.metadata.uid and version(old) >= version(queue):
            return False
        changed = old is None or old.metadata.uid != queue.metadata.uid or old.spec != queue.spec
        if (
            old is None
            or old.metadata.uid != queue.metadata.uid
            or old.metadata.deletion_timestamp != queue.metadata.deletion_timestamp
            or old.spec.accepts != queue.spec.accepts
        ):
            self._routes_changed()
        if not self.shard.covers(queue.key):
            self.elsewhere[queue.key] = queue
            return True
        self.queues[queue.key] = queue
        came = self._put_reservations(queue.key, old, queue, now)
        if old is None or old.metadata.uid != queue.metadata.uid or old.status.operations != queue.status.operations:
            self._look_at_its_jobs(queue.key, now, waiting=True)
        elif changed:
            self._look_at_its_jobs(queue.key, now, waiting=old.spec.aging != queue.spec.aging)
        if old is None or came or not self._is_own_write(old, queue):
            self.on_queue(queue.key)
        else:
            self.on_written(queue.key)
        return True

    def _is_own_write(self, old: AnalysisQueue, new: AnalysisQueue) -> bool:
        """Whether the queue differs by nothing but the status that its writer is writing."""
        written = self.being_written.get(new.key)
        if written is None or new.status != written or old.spec != new.spec:
            return False
        return old.metadata.model_copy(update={"resource_version": new.metadata.resource_version}) == new.metadata

    def queue(self, key: QueueKey) -> AnalysisQueue | None:
        """An AnalysisQueue, whoever looks after it."""
        return self.queues.get(key) or self.elsewhere.get(key)

    def all_queues(self) -> list[AnalysisQueue]:
        """Those of this shard, and those of others."""
        return [*self.queues.values(), *self.elsewhere.values()]

    def _routes_changed(self) -> None:
        self.routes += 1
        self.on_unaccepted()

    def of_queue(self, key: QueueKey) -> list[AnalysisJob]:
        """The jobs that a queue accepted. O(all jobs): for what is rare."""
        return [job for job in self.jobs.values() if queue_key(job) == key]

    def _look_at_its_jobs(self, key: QueueKey, now: datetime, waiting: bool) -> None:
        """A queue's spec, or what was asked of it, changed: unfinished jobs may have something to do.

        Of those that merely wait there may be 100,000; what a spec says of them but aging, only the writer minds.
        """
        for job in self.of_queue(key):
            phase = job.status.phase
            if phase not in FINISHED_PHASES and (waiting or phase is not Phase.QUEUED or job.uid in self.reservations):
                self.refresh(job.uid, now)
                self.on_job(job.uid)

    def remove_queue(self, key: QueueKey, uid: str, now: datetime) -> None:
        """Forget a deleted queue, unless a new one already has its name. What runs goes on to its end."""
        self.tombstones.add(uid)
        old = self.queue(key)
        if old is None or old.metadata.uid != uid:
            return
        self._routes_changed()  # what was routed there may go elsewhere now
        if self.elsewhere.pop(key, None) is not None:
            return
        del self.queues[key]
        self.refused_templates.pop(key, None)
        self._put_reservations(key, old, None, now)
        self.on_queue(key)

    def _put_reservations(
        self, key: QueueKey, old: AnalysisQueue | None, new: AnalysisQueue | None, now: datetime
    ) -> bool:
        """Take in which attempts hold a slot; True if a job came into the backlog by it that had not been there."""
        came = False
        before = {(e.uid, e.attempt) for e in old.status.admitted} if old is not None else set()
        after = {(e.uid, e.attempt) for e in new.status.admitted} if new is not None else set()
        for uid in sorted({uid for uid, _ in before ^ after}):
            held = frozenset(attempt for other, attempt in after if other == uid)
            by_queue = self.reservations.setdefault(uid, {})
            if held:
                by_queue[key] = held
            else:
                by_queue.pop(key, None)
            if not by_queue:
                del self.reservations[uid]
                self._forget_if_idle(uid)
            came = self.refresh(uid, now) or came
            self.on_job(uid)
        return came

    def reserved(self, uid: str) -> frozenset[int]:
        """The attempts of an AnalysisJob that hold a slot."""
        return frozenset(a for attempts in self.reservations.get(uid, {}).values() for a in attempts)

    # --- what runs -------------------------------------------------------------------------------------------

    def attempt(self, key: AttemptKey) -> AttemptView:
        """All that is known of an attempt; empty where nothing is."""
        return self.attempts.get(key) or AttemptView()

    def put_workload(self, view: JobView | PodView) -> None:
        """Take in a Kubernetes Job or a pod."""
        if view.uid in self.tombstones:
            return
        key = (view.job_uid, view.attempt)
        attempt = self.attempts.setdefault(key, AttemptView())
        self.workloads[view.uid] = key
        old: JobView | PodView | None
        if isinstance(view, JobView):
            old = attempt.job
            if old is not None and old.resource_version >= view.resource_version:
                return
            attempt.job, attempt.job_gone = view, False
            attempt.pods_gone = attempt.pods_gone and view.over  # one that goes on makes another pod
        else:
            old = attempt.pods.get(view.uid)
            if old is not None and old.resource_version >= view.resource_version:
                return
            attempt.pods[view.uid] = view
        if old is None or old.decisive != view.decisive:  # most new versions decide nothing
            self._attempt_changed(key)
        elif isinstance(old, PodView) and isinstance(view, PodView) and old.node_name != view.node_name:
            self._tell_writers(key)

    def remove_workload(self, uid: str) -> None:
        """Forget a Job or a pod that was deleted. A pod's end is kept: it decides how the attempt ended."""
        self.tombstones.add(uid)
        key = self.workloads.pop(uid, None)
        attempt = self.attempts.get(key) if key is not None else None
        if key is None or attempt is None:
            return
        owned = key[0] in self.jobs
        if attempt.job is not None and attempt.job.uid == uid:
            attempt.job = None
        elif uid in attempt.pods and not (attempt.pods[uid].ended and owned):
            del attempt.pods[uid]
        if attempt.job is None and not attempt.pods and not owned and key[0] not in self.reservations:
            del self.attempts[key]
        self._attempt_changed(key)

    def keep_listed_workloads(
        self, kind: type[JobView | PodView], namespace: str | None, upto: int, listed: set[str]
    ) -> None:
        """The same of Kubernetes Jobs or pods: those that the answer to our own creation told of, above all."""
        for uid in [uid for uid in self.workloads if uid not in listed]:
            attempt = self.attempt(self.workloads[uid])
            view = attempt.job if attempt.job is not None and attempt.job.uid == uid else attempt.pods.get(uid)
            if isinstance(view, kind) and namespace in (None, view.namespace) and view.resource_version <= upto:
                self.remove_workload(uid)

    def knows(self, view: JobView | PodView) -> bool:
        """Whether a Job or pod counts as there; a pod that has ended is kept for how it ended, there or not."""
        attempt = self.attempts.get((view.job_uid, view.attempt))
        if attempt is None:
            return False
        if isinstance(view, JobView):
            return attempt.job is not None and attempt.job.uid == view.uid
        pod = attempt.pods.get(view.uid)
        return pod is not None and not pod.ended

    def pod(self, uid: str) -> PodView | None:
        """A worker pod by its uid."""
        key = self.workloads.get(uid)
        return self.attempts[key].pods.get(uid) if key is not None and key in self.attempts else None

    def mark_gone(self, key: AttemptKey) -> None:
        """A live read found no Job and no pod of the attempt that is not terminal."""
        attempt = self.attempts.setdefault(key, AttemptView())
        for gone in (*((attempt.job.uid,) if attempt.job is not None else ()), *(pod.uid for pod in attempt.live_pods)):
            self.tombstones.add(gone)
        attempt.job_gone = True
        attempt.job = None
        attempt.pods = {uid: pod for uid, pod in attempt.pods.items() if pod.ended}
        self._attempt_changed(key)

    def mark_without_pods(self, key: AttemptKey) -> None:
        """A live read found no pod of a Job that was over when the pods were asked for."""
        self.attempts.setdefault(key, AttemptView()).pods_gone = True
        self._attempt_changed(key)

    def _attempt_changed(self, key: AttemptKey) -> None:
        self.on_job(key[0])
        self._tell_writers(key)

    def _tell_writers(self, key: AttemptKey) -> None:
        """The slot, and whether a try found a node, are all that a queue's writer wants to know of an attempt."""
        holders = list(self.reservations.get(key[0], ()))  # whoever reserves later looks at all that is known then
        view = self.attempts.get(key)
        if view is not None:
            before, view.last_facts = view.last_facts, (self.releasable(*key), view.on_a_node)
            if view.last_facts == before:
                return
            if view.last_facts[0] == before[0]:
                holders = [holder for holder in holders if self._tries(holder, key[0])]
        for holder in holders:
            self.on_queue(holder)

    def _tries(self, key: QueueKey, uid: str) -> bool:
        """Whether the job tries, for all of its size, if the cluster has room again."""
        queue = self.queues.get(key)
        return queue is not None and any(entry.trying == uid for entry in queue.status.capacity)

    def _forget_if_idle(self, uid: str) -> None:
        """Drop what is known of attempts of an AnalysisJob that is gone."""
        if uid in self.jobs:
            return
        self.deleted.discard(uid)
        for key in [key for key in self.attempts if key[0] == uid]:
            view = self.attempts[key]
            if view.job is None and not view.live_pods:
                del self.attempts[key]

    # --- slots -----------------------------------------------------------------------------------------------

    def releasable(self, uid: str, attempt: int) -> bool:
        """Whether a reservation has done its work: its attempt is settled in the status, and nothing of it runs.

        For an AnalysisJob that is gone, a live read must have said so (`deleted`): this cache may be older than
        the reservation.
        """
        view = self.attempt((uid, attempt))
        job = self.jobs.get(uid)
        if job is None:
            # Its Job going away proves nothing: a pod of it may be there that this cache does not show yet.
            return uid in self.deleted and view.over
        if not view.over:
            return False
        status = job.status
        if status.phase in FINISHED_PHASES or status.attempt > attempt:
            return True
        if status.attempt != attempt:
            return False
        if status.phase in ACTIVE_PHASES:
            return status.stop is not None and gives_back(status.stop, attempt) and view.can_go_on
        # In Queued, an attempt that can go on holds its slot for that: it is a new reservation.
        return not resumable(status)
