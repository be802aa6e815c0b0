"""What to do next for one AnalysisJob: pure, one step at a time, decided from what is known now.

The reconciler carries the step out, takes in what the API server answered, and asks again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from klipstream_api import (
    FINISHED_PHASES,
    AnalysisJob,
    AnalysisJobStatus,
    AnalysisQueue,
    OperationName,
    Phase,
    Progress,
    QueueMode,
    Stop,
)
from klipstream_api.phases import ACTIVE_PHASES
from klipstream_operator import statuses, stops
from klipstream_operator.failures import classify, missing_resources
from klipstream_operator.limits import limits_of, spec_of
from klipstream_operator.operations import cleared, last_done
from klipstream_operator.posted import latest_progress
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import AttemptView, PodView
from klipstream_queueing.aging import aged_priority, next_rise
from klipstream_queueing.order import priority_of

UNREACHABLE_SECONDS = 60
"""A pod that takes longer than that to end is on a node that does not answer, if somebody says so by clear-stuck."""
RUNNING_AFTER_SECONDS = 5
"""A worker that posts no progress counts as running after that long; shorter runs save the write."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before that moment, or before something changes."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Create the Job of a reserved attempt; a suspended one only occupies the name (rule 2)."""

    attempt: int
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Suspend:
    """Stop an attempt: the Job controller removes its pod. One that Kueue decides on is withdrawn from it."""

    attempt: int
    job_name: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a suspended attempt go on under its new reservation, unless its template is no longer the right one."""

    attempt: int
    job_name: str


@dataclass(frozen=True, slots=True)
class FenceOff:
    """Mark a suspended Job, so that a resume that was decided before meets a conflict (rule 2)."""

    attempt: int
    job_name: str


@dataclass(frozen=True, slots=True)
class ReadLive:
    """Ask the API server for the attempt's Job and pods before believing that they are gone, or were never there."""

    attempt: int


@dataclass(frozen=True, slots=True)
class FailLostPod:
    """End a pod whose node does not answer, as the pod garbage collector does (rule 4)."""

    pod: PodView


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write a status."""

    status: AnalysisJobStatus
    transition: Transition


Step = Wait | Launch | Suspend | Resume | FenceOff | ReadLive | FailLostPod | WriteStatus


def is_settled(job: AnalysisJob, reserved: frozenset[int]) -> bool:
    """Whether there is no step for a job, whatever runs for it: nobody accepted it yet, or it is finished, without a
    slot, and not to be replayed."""
    if not statuses.is_accepted(job.status):
        return True
    return job.status.phase in FINISHED_PHASES and not reserved and not _wants_replay(job)


def next_step(
    job: AnalysisJob,
    queue: AnalysisQueue | None,
    reserved: frozenset[int],
    seen: Callable[[int], AttemptView],
    progress: Progress | None,
    now: datetime,
) -> Step:
    """The next step for a job.

    `reserved` are its attempts that hold a slot, `seen(attempt)` is what runs for one of them, `progress` is the
    latest post of the worker that is not written yet.
    """
    status = job.status
    if is_settled(job, reserved):
        return Wait()
    unused = max((attempt for attempt in reserved if attempt > status.attempt), default=None)
    if unused is not None and (status.phase is not Phase.QUEUED or job.spec.cancel):
        return _give_up_unused(job, unused, seen(unused), now)
    if status.phase not in ACTIVE_PHASES and (doubtful := _doubtful(reserved, status.attempt, seen)) is not None:
        return ReadLive(doubtful)
    if status.phase in FINISHED_PHASES:
        return _replay(job, queue, reserved, now)
    if status.phase in ACTIVE_PHASES:
        return _follow(job, queue, reserved, seen(status.attempt), progress, now)
    if statuses.resumable(status) and (step := _go_on(job, status.attempt in reserved, seen(status.attempt), now)):
        return step
    if job.spec.cancel:
        return _cancel_unreserved(job, statuses.next_attempt(status), seen, now)
    if not reserved and cleared(job, queue):
        message = "The queue was cleared while the job waited. Submit it again if it is still wanted."
        return WriteStatus(statuses.cancelled(job, now, message, "QueueCleared"), Transition.CLEARED)
    if status.phase is Phase.BACKING_OFF:
        return _back_off(job, now)
    if unused is not None:
        view = seen(unused)
        if view.job is not None and view.job.owner_uid == job.uid:
            return WriteStatus(statuses.started(job, unused, view.job.uid, now), Transition.STARTED)
        return Launch(unused)
    return _wait_in_queue(job, queue, now)


def _doubtful(reserved: frozenset[int], begun: int, seen: Callable[[int], AttemptView]) -> int | None:
    """A settled attempt that holds a slot though neither Job nor pod of it is known: deleted by hand, perhaps."""
    for attempt in sorted(attempt for attempt in reserved if attempt <= begun):
        view = seen(attempt)
        if view.job is None and not view.live_pods and not view.over:
            return attempt
    return None


def _give_up_unused(job: AnalysisJob, attempt: int, view: AttemptView, now: datetime) -> Step:
    """A reservation that will not be used: occupy the name so that nothing can come late, then let go."""
    if view.job is None and not view.job_gone:
        return Launch(attempt, suspended=True)
    if not view.over:
        if view.job is not None and view.job.unstopped:
            return Suspend(attempt, view.job.name)
        return Wait()
    if job.status.phase is Phase.QUEUED:
        pod = view.ended_pod
        if pod is not None and pod.phase == "Succeeded" and view.job is not None:
            return WriteStatus(statuses.started(job, attempt, view.job.uid, now), Transition.STARTED)
        return WriteStatus(statuses.cancelled(job, now, "The job was cancelled before it ran."), Transition.CANCELLED)
    return Wait()


def _cancel_unreserved(job: AnalysisJob, attempt: int, seen: Callable[[int], AttemptView], now: datetime) -> Step:
    """Mostly nothing of it is there; its queue may be gone, and its reservation with it, while its Job was stopped."""
    view = seen(attempt)
    if view.job is not None:
        return _give_up_unused(job, attempt, view, now)
    if view.live_pods:
        return Wait()
    return WriteStatus(statuses.cancelled(job, now, "The job was cancelled before it ran."), Transition.CANCELLED)


def _wants_replay(job: AnalysisJob) -> bool:
    return job.status.phase is Phase.FAILED and job.spec.replay > job.status.observed_replay


def _replay(job: AnalysisJob, queue: AnalysisQueue | None, reserved: frozenset[int], now: datetime) -> Step:
    """A finally failed job runs again when spec.replay was raised; only once its last slot is released."""
    if not _wants_replay(job) or reserved:
        return Wait()
    if spec_of(queue).mode is QueueMode.DRAINING:
        return WriteStatus(statuses.replay_refused(job, now), Transition.REPLAY_REFUSED)
    return WriteStatus(statuses.replayed(job, now), Transition.REPLAYED)


def _back_off(job: AnalysisJob, now: datetime) -> Step:
    due = job.status.next_attempt_at
    if due is not None and due > now:
        return Wait(due)
    status = job.status.model_copy(update={"phase": Phase.QUEUED, "next_attempt_at": None})
    return WriteStatus(status, Transition.RETRY_DUE)


def _wait_in_queue(job: AnalysisJob, queue: AnalysisQueue | None, now: datetime) -> Step:
    """In the backlog: priority rises with aging, and notBefore comes."""
    aging = spec_of(queue).aging
    priority = aged_priority(job, aging, now)
    if priority is not priority_of(job) or (aging is None and job.status.effective_priority is not None):
        return WriteStatus(statuses.aged(job, priority), Transition.AGED)
    moments = (job.spec.not_before, next_rise(job, aging, now))
    return Wait(min((moment for moment in moments if moment is not None and moment > now), default=None))


def _go_on(job: AnalysisJob, reserved: bool, view: AttemptView, now: datetime) -> Step | None:
    """An attempt that had found no node: go on when it has a slot again. None where nothing has to be done for it."""
    if view.job is None:
        if not view.job_gone:
            return ReadLive(job.status.attempt)
        message = "The attempt's Kubernetes Job was deleted while the job waited; the next attempt takes over."
        return WriteStatus(statuses.abandoned(job, "JobDeleted", message, now), Transition.SUPERSEDED)
    if not reserved:
        # Nobody reserved a slot for what runs here: a resume that came late.
        return Suspend(job.status.attempt, view.job.name) if view.job.unstopped else None
    if job.spec.cancel:
        if view.job.unstopped:
            return Suspend(job.status.attempt, view.job.name)
        if not view.over:
            return Wait()
        return None if view.job.fenced else FenceOff(job.status.attempt, view.job.name)
    if view.job.suspend and view.ended_pod is not None:
        # Seen late, or the status is older than the pod: resumed, the attempt would seem over while its next pod runs.
        if not view.job.fenced:
            return FenceOff(job.status.attempt, view.job.name)
        message = "The attempt's pod had ended when its Kubernetes Job was suspended; the next attempt takes over."
        return WriteStatus(statuses.abandoned(job, "PodEnded", message, now), Transition.SUPERSEDED)
    if view.job.suspend:
        return Resume(job.status.attempt, view.job.name)
    return WriteStatus(statuses.resumed(job, now), Transition.RESUMED)


def _follow(
    job: AnalysisJob,
    queue: AnalysisQueue | None,
    reserved: frozenset[int],
    view: AttemptView,
    progress: Progress | None,
    now: datetime,
) -> Step:
    """An attempt is under way: see it start, run and end."""
    status = job.status
    stop = status.stop if status.stop is not None and status.stop.attempt == status.attempt else None
    if view.end_unseen or (view.job is None and not view.live_pods and not view.over):
        return ReadLive(status.attempt)
    if view.job is not None and view.job.held and _lost_its_place(view, status.phase):
        return Suspend(status.attempt, view.job.name)
    if view.over:
        return _settle(job, queue, reserved, view, stop, progress, now)
    waits: list[datetime] = []
    if view.job is not None and view.job.unstopped:
        verdict = _end(job, queue, view, stop, progress, now)
        if not isinstance(verdict, Wait):
            return verdict
        if verdict.until is not None:
            waits.append(verdict.until)
    for pod in view.live_pods:
        if pod.deleted_at is not None:
            lost_at = _lost_at(job, queue, pod)
            if lost_at <= now and limits_of(job, queue).node_lost.release:
                return FailLostPod(pod)
            waits.append(lost_at)
        if status.phase is Phase.STARTING and pod.running_since is not None:
            running_at = pod.running_since + timedelta(seconds=RUNNING_AFTER_SECONDS)
            if running_at <= now:
                return WriteStatus(statuses.running(job, None, now), Transition.RUNNING)
            waits.append(running_at)
    return Wait(min((moment for moment in waits if moment > now), default=None))


def _lost_its_place(view: AttemptView, phase: Phase) -> bool:
    """Kueue suspended the attempt after its pod had run: the next attempt goes on, as after any loss of a pod."""
    assert view.job is not None
    ran = view.ended_pod is not None or phase is Phase.RUNNING
    return view.job.suspend and ran and not view.live_pods and not view.job.over


def _lost_at(job: AnalysisJob, queue: AnalysisQueue | None, pod: PodView) -> datetime:
    """When a terminating pod counts as lost with its node; clear-stuck does not wait as long."""
    assert pod.deleted_at is not None
    lost_at = pod.deleted_at + timedelta(seconds=limits_of(job, queue).node_lost.seconds)
    asked = last_done(queue, OperationName.CLEAR_STUCK)
    if asked is not None and asked >= pod.deleted_at + timedelta(seconds=UNREACHABLE_SECONDS):
        return min(lost_at, asked)
    return lost_at


def _end(
    job: AnalysisJob,
    queue: AnalysisQueue | None,
    view: AttemptView,
    stop: Stop | None,
    progress: Progress | None,
    now: datetime,
) -> Step:
    """End the attempt if it was cancelled or has to be: first the decision in the status, then its Job."""
    assert view.job is not None
    suspend = Suspend(job.status.attempt, view.job.name)
    if stop is not None:
        due = stops.suspend_at(stop, queue)
        return Wait(due) if due > now else suspend
    if job.spec.cancel:
        graceful = stops.cancel(job, queue, progress, now)
        if graceful is None:
            return suspend
        return WriteStatus(statuses.stopping(job, graceful, now), Transition.STOPPING)
    verdict = stops.judge(job, queue, view, progress, now)
    if verdict.stop is not None:
        return WriteStatus(statuses.stopping(job, verdict.stop, now), Transition.STOPPING)
    return Wait(verdict.look_again)


def _settle(
    job: AnalysisJob,
    queue: AnalysisQueue | None,
    reserved: frozenset[int],
    view: AttemptView,
    stop: Stop | None,
    progress: Progress | None,
    now: datetime,
) -> Step:
    """The attempt is over: success first, since a cancel that comes too late loses."""
    # What the worker said last may not be written yet; once the job is finished it could not be.
    if progress is not None and progress.attempt == job.status.attempt:
        latest = latest_progress(job.status.progress, progress)
        job = job.model_copy(update={"status": job.status.model_copy(update={"progress": latest})})
    pod = view.ended_pod
    if (pod is not None and pod.phase == "Succeeded") or (pod is None and view.job is not None and view.job.complete):
        return WriteStatus(statuses.succeeded(job, queue, pod, now), Transition.SUCCEEDED)
    if job.spec.cancel:
        return WriteStatus(statuses.cancelled(job, now, "The running attempt was stopped."), Transition.CANCELLED)
    if stop is not None and stops.gives_back(stop, job.status.attempt):
        return _give_back(job, reserved, view, stop, now)
    failure = (stops.failure_of(stop) if stop is not None else None) or classify(view)
    status = statuses.failed(job, queue, failure, now)
    final = status.phase is Phase.FAILED
    return WriteStatus(status, Transition.DEAD_LETTERED if final else Transition.RETRYING)


def _give_back(job: AnalysisJob, reserved: frozenset[int], view: AttemptView, stop: Stop, now: datetime) -> Step:
    """No node had room. The slot is released first (see Store.releasable): a reservation of this attempt that is
    seen in phase Queued is then always a new one.
    """
    if view.can_go_on:
        if job.status.attempt in reserved:
            return Wait()
        return WriteStatus(statuses.returned(job, stop, missing_resources(stop.message), now), Transition.RETURNED)
    # The pod found a node just then, or somebody deleted the Job: nothing is left to go on with.
    message = "The attempt was given up for want of a node; the next one takes over and no retry is used up."
    return WriteStatus(statuses.abandoned(job, "Unschedulable", message, now), Transition.RETURNED)
