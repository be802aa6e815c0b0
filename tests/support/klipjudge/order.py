"""Who comes first: strict priority, then first in, first out by sequence, and sequences in order of creation."""

from collections.abc import Set
from dataclasses import dataclass

from klipjudge.cluster import Cluster, Job, JobVersion, Queue
from klipjudge.history import Request, seconds
from klipjudge.verdict import Terms, Verdict
from klipjudge.vocabulary import DEFAULT_LANE, AttemptKey


@dataclass(slots=True)
class Order:
    """The rules on the order of reservations and acceptances."""

    cluster: Cluster
    verdict: Verdict
    terms: Terms

    # --- reservations -----------------------------------------------------------------------------------------

    def check(self, queue: Queue, added: Set[AttemptKey], request: Request) -> None:
        """No job that waits now, accepted before this write, comes before one that was taken."""
        for key in sorted(added):
            job = self.cluster.jobs.get(key[0])
            if job is None or job.now.sequence is None:
                continue
            self.verdict.checked["inversion"] += 1
            # By the values of now first: what may have been believed before a patch only narrows it.
            first = self.cluster.first(queue)
            if first is None or first.rank is None or first.rank > (-job.priority.value, job.now.sequence, job.uid):
                continue
            passed = self._passed_over(queue, job, request)
            if passed is not None:
                message = f"{job.name} was taken while {passed.name} came first ({_known(passed.now, request)})"
                self.verdict.broken("inversion", request, message)

    def _passed_over(self, queue: Queue, taken: Job, request: Request) -> Job | None:
        """The first of those that wait and certainly come before the one that was taken."""
        mine = min(self._ranks(taken, request))
        waiting = {uid for _, _, uid in queue.backlog}
        ranks = [
            (max(self._ranks(job, request)), job)
            for uid in waiting
            if (job := self.cluster.jobs[uid]).rank is not None and self._was_due(job, queue, taken, request)
        ]
        rank, first = min(ranks, key=lambda each: each[0], default=(mine, None))
        return first if rank < mine else None

    def _ranks(self, job: Job, request: Request) -> list[tuple[int, int]]:
        assert job.now.sequence is not None
        return [(-value, job.now.sequence) for value in job.priority.possible(job.uid, request, self.terms)]

    def _was_due(self, job: Job, queue: Queue, taken: Job, request: Request) -> bool:
        """Whether a waiting job was free to be taken, and could be known to be."""
        terms = self.terms
        if self.cluster.unanswered.may_have_changed(job.name, job.now.received, request):
            return False
        for due in job.not_before.possible(job.uid, request, terms):
            if due is not None and due + terms.clock_seconds > request.decided:
                return False
        if not request.told_of(job.uid, job.lane_revision):
            return False  # somebody has just changed its size
        if job.lane != taken.lane and (
            DEFAULT_LANE in queue.short if job.lane == DEFAULT_LANE else queue.short - {DEFAULT_LANE}
        ):
            return False  # the cluster has no room for its size
        if queue.cleared_at and _waiting_since(job.now) <= queue.cleared_at:
            return False  # about to be cancelled
        return job.was_known_to(request, terms)  # an operator's own writes are not to overtake each other

    # --- sequences --------------------------------------------------------------------------------------------

    def sequenced(self, job: Job, before: JobVersion | None, request: Request) -> None:
        """A write to an AnalysisJob: its sequence."""
        now = job.now
        if now.sequence is None:
            late = request.received >= job.created_completed + self.terms.seen_seconds
            if before is not None and not self.terms.by_operator(request.agent):
                job.changed_unseen = job.changed_unseen or late
                job.changed_revision = job.changed_revision or request.revision
            if before is not None and before.sequence is not None:
                self.verdict.broken("sequence", request, f"{job.name} lost its sequence")
            return
        old = before.sequence if before is not None else None
        if job.queue is None or (now.sequence == old and job.accepted is not None):
            return  # its place may be noted before a queue takes it
        self.verdict.checked["sequence"] += 1
        queue = self.cluster.queue(job.queue)
        if queue.sequences.setdefault(now.sequence, job.uid) != job.uid:
            message = f"{job.name} shares sequence {now.sequence} with {queue.sequences[now.sequence]}"
            self.verdict.broken("sequence", request, message)
        if job.accepted is None:
            job.accepted, job.first_sequence = request, now.sequence
            queue.accepted.append(job)
        elif old is not None and before is not None and now.observed_replay <= before.observed_replay:
            self.verdict.broken("sequence", request, f"{job.name} changed its sequence without a replay")
        elif old is not None and now.sequence < old:
            self.verdict.broken("sequence", request, f"{job.name} came back before its old place")

    def finish(self) -> None:
        """Sequences of a queue rise in the order in which its jobs were created."""
        for queue in self.cluster.queues.values():
            highest: Job | None = None
            jobs = sorted(queue.accepted, key=lambda job: job.created_revision)
            for number, job in enumerate(jobs):
                self.verdict.checked["fifo"] += 1
                if highest is not None and job.first_sequence < highest.first_sequence:
                    self._check_overtaken(jobs[:number], job)
                else:
                    highest = job

    def _check_overtaken(self, earlier: list[Job], job: Job) -> None:
        """A job has a lower sequence than some that were created before it.

        One that was changed while nobody looked takes its place from then. Created before means by timestamp and by
        revision, since concurrent creations can differ in these; and the earlier one must have been there to be seen
        when the later one was accepted.
        """
        assert job.accepted is not None
        for other in earlier:
            seen = other.created_completed + self.terms.seen_seconds <= job.accepted.received
            before = other.created_at <= job.created_at and not _changed_unseen(other, self.terms)
            if other.first_sequence > job.first_sequence and before and seen:
                message = (
                    f"{other.name} was created before {job.name} (revisions {other.created_revision} and"
                    f" {job.created_revision}), but comes after it (sequences {other.first_sequence} and"
                    f" {job.first_sequence})"
                )
                self.verdict.broken("fifo", job.accepted, message)
                return


def _changed_unseen(job: Job, terms: Terms) -> bool:
    """Whether a job was changed before its place was known, and before whoever accepted it had heard of it."""
    if job.changed_unseen or (terms.watches_lag and job.changed_revision > 0):
        return True
    accepted, revision = job.accepted, job.changed_revision
    return accepted is not None and revision > 0 and accepted.came_to_know(job.uid, revision)


def _waiting_since(now: JobVersion) -> float:
    ends = [entry["finishedAt"] for entry in now.attempts if entry.get("finishedAt")]
    queued_at = now.status.get("queuedAt")
    return max((seconds(moment) for moment in [*ends, *([queued_at] if queued_at else [])]), default=0.0)


def _known(now: JobVersion, request: Request) -> str:
    """How long before the reservation the last write of the job that was passed over was answered."""
    known_ms = (request.received - now.completed) * 1000
    if known_ms < 0:
        told = f"committed before the reservation, answered {-known_ms:.1f} ms after that came in"
    else:
        told = f"answered {known_ms:.1f} ms before the reservation came in"
    return f"its last write was {told}"
