"""When the operator ends an attempt by itself, and what that makes of it (pure).

The decision is written into the status before anything is stopped, so that a successor goes on with it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from klipstream_api import (
    AnalysisJob,
    AnalysisQueue,
    FailureClass,
    OperationName,
    Phase,
    Progress,
    ProgressFrom,
    Stop,
    StopReason,
)
from klipstream_operator.failures import HOPELESS_STARTS, Failure, missing_resources, start_problem
from klipstream_operator.limits import spec_of
from klipstream_operator.operations import last_done
from klipstream_operator.workload import AttemptView

STUCK_SECONDS = 600
"""What clear-stuck calls stuck where the queue does not say when an attempt counts as stalled."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Stop the attempt, or look again at that moment (None: only when something changes)."""

    stop: Stop | None = None
    look_again: datetime | None = None


def judge(
    job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, progress: Progress | None, now: datetime
) -> Verdict:
    """Whether the attempt that is under way has to be ended, for any reason but a cancel."""
    verdicts = [_unschedulable(job, queue, view, now), _cannot_start(job, queue, view, now)]
    if not view.waits_in_kueue:  # no time of ours runs out while Kueue has no place for it
        verdicts += [
            _cleared_as_stuck(job, queue, view, progress, now),
            _stalled(job, queue, view, progress, now),
        ]
    stop = next((verdict for verdict in verdicts if verdict.stop is not None), None)
    if stop is not None:
        return stop
    return Verdict(look_again=min((v.look_again for v in verdicts if v.look_again is not None), default=None))


def cancel(job: AnalysisJob, queue: AnalysisQueue | None, progress: Progress | None, now: datetime) -> Stop | None:
    """A cancel with a grace, for a worker that posts progress and so will be told; None where it ends at once."""
    grace = spec_of(queue).cancel_grace_seconds
    listens = any(p is not None and p.attempt == job.status.attempt for p in (progress, job.status.progress))
    # Nobody can tell a worker anything by its own log.
    if grace == 0 or not listens or spec_of(queue).progress_from is ProgressFrom.LOGS:
        return None
    message = f"The worker is told to stop and has {grace} s to do so."
    return Stop(attempt=job.status.attempt, reason=StopReason.CANCEL, message=message, at=now)


def suspend_at(stop: Stop, queue: AnalysisQueue | None) -> datetime:
    """When the attempt's Job is suspended: at once, or after the grace of a cancel."""
    grace = spec_of(queue).cancel_grace_seconds if stop.reason is StopReason.CANCEL else 0
    return stop.at + timedelta(seconds=grace)


def gives_back(stop: Stop, attempt: int) -> bool:
    """Whether the attempt is ended for want of a node, so that its slot is released before its status changes."""
    return stop.attempt == attempt and stop.reason is StopReason.UNSCHEDULABLE


def failure_of(stop: Stop) -> Failure | None:
    """What an attempt that was stopped counts as; None for a cancel."""
    match stop.reason:
        case StopReason.STALLED | StopReason.CLEARED_AS_STUCK:
            return Failure(FailureClass.STALLED, stop.reason.value, stop.message)
        case StopReason.START_FAILED:
            hopeless = stop.detail in HOPELESS_STARTS
            kind = FailureClass.PERMANENT if hopeless else FailureClass.TRANSIENT
            return Failure(kind, stop.detail, stop.message)
        case StopReason.UNSCHEDULABLE:
            return Failure(FailureClass.UNSCHEDULABLE, stop.reason.value, stop.message)
        case StopReason.CANCEL:
            return None


def last_sign(job: AnalysisJob, view: AttemptView, progress: Progress | None) -> datetime | None:
    """When the attempt last showed that it gets on: its creation, its start, or progress that was new."""
    posted = [
        p.updated_at for p in (progress, job.status.progress) if p is not None and p.attempt == job.status.attempt
    ]
    began = [pod.running_since for pod in view.live_pods if pod.running_since is not None]
    return max((*posted, *began, *filter(None, (job.status.started_at,))), default=None)


def is_stuck(job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, progress: Progress | None,
             at: datetime) -> bool:  # fmt: skip
    """What clear-stuck ends: an attempt without any sign of getting on for too long at that moment."""
    sign = last_sign(job, view, progress)
    seconds = spec_of(queue).stall.no_progress_seconds or STUCK_SECONDS
    return sign is not None and sign + timedelta(seconds=seconds) <= at


def _stop(job: AnalysisJob, reason: StopReason, message: str, now: datetime, detail: str = "") -> Verdict:
    return Verdict(Stop(attempt=job.status.attempt, reason=reason, detail=detail, message=message[:1024], at=now))


def _unschedulable(job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, now: datetime) -> Verdict:
    """Such a pod gives its slot back (rule 8)."""
    for pod in view.live_pods:
        if pod.unschedulable is None or pod.unschedulable_since is None or pod.deleted_at is not None:
            continue
        due = pod.unschedulable_since + timedelta(seconds=spec_of(queue).capacity.unschedulable_seconds)
        if due > now:
            return Verdict(look_again=due)
        missing = ", ".join(missing_resources(pod.unschedulable))
        message = f"No node has room{f' (missing: {missing})' if missing else ''}: {pod.unschedulable}"
        return _stop(job, StopReason.UNSCHEDULABLE, message, now, "Unschedulable")
    return Verdict()


def _cannot_start(job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, now: datetime) -> Verdict:
    """An image that cannot be had, a Secret that is missing: waiting longer than the deadline does not help."""
    for pod in view.live_pods:
        problem = start_problem(pod, now)
        if problem is None or pod.deleted_at is not None:
            continue
        due = problem.since + timedelta(seconds=spec_of(queue).start_deadline_seconds)
        if due > now and not problem.hopeless:
            return Verdict(look_again=due)
        return _stop(job, StopReason.START_FAILED, problem.message, now, problem.reason)
    return Verdict()


def _cleared_as_stuck(
    job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, progress: Progress | None, now: datetime
) -> Verdict:
    asked = last_done(queue, OperationName.CLEAR_STUCK)
    if asked is None or not is_stuck(job, queue, view, progress, asked):
        return Verdict()
    message = "The attempt showed no sign of getting on when the queue's stuck attempts were cleared."
    return _stop(job, StopReason.CLEARED_AS_STUCK, message, now)


def _stalled(
    job: AnalysisJob, queue: AnalysisQueue | None, view: AttemptView, progress: Progress | None, now: datetime
) -> Verdict:
    """Only a worker that runs can stall; waiting for a node or an image has deadlines of its own."""
    seconds = spec_of(queue).stall.no_progress_seconds
    if seconds is None or job.status.phase is not Phase.RUNNING:
        return Verdict()
    sign = last_sign(job, view, progress)
    if sign is None:
        return Verdict()
    due = sign + timedelta(seconds=seconds)
    if due > now:
        return Verdict(look_again=due)
    message = (
        f"The worker posted nothing new for {seconds} s (stall.noProgressSeconds of the queue)."
        " Look at its log; a worker that posts no progress at all needs a queue without it."
    )
    return _stop(job, StopReason.STALLED, message, now)
