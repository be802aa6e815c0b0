"""Each decision of the lifecycle whole: the step with its times, or the transition with all that it writes."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from klipfake.changes import changes
from klipfake.objects import NOW, SUSPENDED, UID, ended, job, kube_job, pod, queue, running, view
from klipstream_api import AnalysisJob, AnalysisQueue, Progress
from klipstream_operator.failures import classify
from klipstream_operator.lifecycle import (
    FailLostPod,
    FenceOff,
    Launch,
    ReadLive,
    Resume,
    Step,
    Suspend,
    Wait,
    WriteStatus,
    next_step,
)
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import AttemptView, PodView, Termination

NAME = f"{UID}-a1"
T = "2026-01-02T03:04:05.000Z"
FINISHED = {"observedGeneration": 1, "finishedAt": T}
CANCELLED = FINISHED | {"phase": "Cancelled", "conditions": {"Finished": ("True", "Cancelled", T)}}
POSTED = Progress(attempt=1, percentage=5.0, stage="Analyzing", updated_at=NOW)
LATER = Progress(attempt=1, percentage=60.0, stage="Analyzing", updated_at=NOW + timedelta(seconds=1))
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def wire(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def decide(
    of: AnalysisJob, the_queue: AnalysisQueue | None, reserved: set[int], looks: AttemptView, posted: Progress | None
) -> Step:
    views = {of.status.attempt: looks} if of.status.attempt in reserved or not reserved else {min(reserved): looks}
    return next_step(of, the_queue, frozenset(reserved), lambda a: views.get(a, AttemptView()), posted, NOW)


def stop(reason: str, seconds: float = 0, attempt: int = 1, message: str = "Why.") -> dict[str, Any]:
    said = {"attempt": attempt, "reason": reason, "detail": "", "message": message, "at": wire(at(seconds))}
    return {"stop": said}


def asked(name: str, seconds: float) -> dict[str, Any]:
    return {"operations": [{"name": name, "request": "1", "at": wire(at(seconds))}]}


def leaving(seconds: float, **changed: Any) -> PodView:
    return pod(deleted_at=at(seconds), **changed)


GOES_ON = running("Queued")
STOPPING_JOB = kube_job(suspend=True)
FENCED = kube_job(suspend=True, pods_left=0, conditions={"Suspended": ""}, fenced=True)
GRACE = queue(cancelGraceSeconds=7)
STALLS = queue(stall={"noProgressSeconds": 60})
NODE_LOST = queue(nodeLost={"seconds": 60})
HELD = queue(nodeLost={"seconds": 60, "release": False})
RISES = queue(aging={"everySeconds": 60})
RISES_SLOWLY = queue(aging={"everySeconds": 200})
OLD = {"queuedAt": "2026-01-02T03:00:00Z"}


@pytest.mark.parametrize(
    ("rule", "of", "the_queue", "reserved", "looks", "posted", "expected"),
    [
        # Nothing runs yet.
        ("what holds a slot is not cleared", job(OLD), queue(asked("Clear", 0)), {1}, view(), None, Launch(1)),
        ("the Job of somebody else under our name is not ours", job(), queue(), {1},
         view(kube_job(owner_uid="other")), None, Launch(1)),
        ("a moment that has come is not waited for", job(notBefore=T), queue(), set(), view(), None, Wait()),
        ("a retry is waited for", job(running("BackingOff", nextAttemptAt=wire(at(1)))), queue(), set(), view(), None,
         Wait(at(1))),
        ("the next rise is waited for", job({"effectivePriority": "NORMAL"}, priority="LOW"), RISES_SLOWLY, set(),
         view(), None, Wait(at(155))),
        ("of two moments the first", job({"effectivePriority": "NORMAL"}, priority="LOW", notBefore=wire(at(9))),
         RISES_SLOWLY, set(), view(), None, Wait(at(9))),
        ("what has risen is not written again", job({"effectivePriority": "HIGH"}), RISES, set(), view(), None, Wait()),
        # A slot that will not be used.
        ("a cancelled reservation is waited out", job(cancel=True), queue(), {1}, view(STOPPING_JOB, pod()), None,
         Wait()),
        ("so is one of a job that is finished", job({"phase": "Failed", "attempt": 1}), queue(), {2},
         view(SUSPENDED), None, Wait()),
        ("whose name is occupied first", job({"phase": "Failed", "attempt": 1}), queue(), {2}, view(), None,
         Launch(2, suspended=True)),
        ("unless a live read found that nothing can come", job({"phase": "Failed", "attempt": 1}), queue(), {2},
         view(gone=True), None, Wait()),
        # Finished.
        ("an attempt that runs on after the end is waited for", job({"phase": "Failed", "attempt": 1}), queue(), {1},
         view(kube_job(), pod()), None, Wait()),
        ("its pod too, though the Job is not known", job({"phase": "Failed", "attempt": 1}), queue(), {1},
         view(None, pod()), None, Wait()),
        ("a replay waits for the last slot", job({"phase": "Failed", "attempt": 1}, replay=1), queue(), {1},
         view(kube_job(), ended(1)), None, Wait()),
        ("an old replay is not done again", job({"phase": "Failed", "observedReplay": 1}, replay=1), queue(), set(),
         view(), None, Wait()),
        ("only failures are replayed", job({"phase": "Succeeded"}, replay=1), queue(), set(), view(), None, Wait()),
        # An attempt that had found no node.
        ("its Job is looked for before it is believed gone", job(GOES_ON), queue(), set(), view(), None, ReadLive(1)),
        ("without a slot it rests", job(GOES_ON), queue(), set(), view(SUSPENDED), None, Wait()),
        ("a resume that came late is undone", job(GOES_ON), queue(), set(), view(kube_job()), None, Suspend(1, NAME)),
        ("with a slot it goes on", job(GOES_ON), queue(), {1}, view(SUSPENDED), None, Resume(1, NAME)),
        ("unless it was cancelled: stopped again", job(GOES_ON, cancel=True), queue(), {1}, view(kube_job()), None,
         Suspend(1, NAME)),
        ("waited for", job(GOES_ON, cancel=True), queue(), {1}, view(STOPPING_JOB, pod()), None, Wait()),
        ("and fenced off", job(GOES_ON, cancel=True), queue(), {1}, view(SUSPENDED), None, FenceOff(1, NAME)),
        # Under way.
        ("a Job without its pod is waited for", job(running("Starting")), queue(), {1}, view(kube_job()), None, Wait()),
        ("a pod without its Job too", job(running()), queue(), {1}, view(None, pod()), None, Wait()),
        ("nothing at all is looked for", job(running()), queue(), {1}, view(), None, ReadLive(1)),
        ("how a pod ended is looked for before its Job's word counts", job(running()), queue(), {1},
         AttemptView(kube_job(conditions={"Failed": ""})), None, ReadLive(1)),
        ("a worker that just began is looked at again", job(running("Starting")), queue(), {1},
         view(kube_job(), pod(running_since=at(-4))), None, Wait(at(1))),
        ("a pod that leaves is given the queue's time", job(running()), NODE_LOST, {1},
         view(kube_job(), leaving(-59)), None, Wait(at(1))),
        ("then it is lost", job(running()), NODE_LOST, {1}, view(kube_job(), leaving(-60)), None,
         FailLostPod(leaving(-60))),
        ("or held", job(running()), HELD, {1}, view(kube_job(), leaving(-60)), None, Wait()),
        ("clear-stuck ends one that leaves for a minute", job(running()), queue(asked("ClearStuck", -40)), {1},
         view(kube_job(), leaving(-100)), None, FailLostPod(leaving(-100))),
        ("not one that left just before", job(running()), queue(asked("ClearStuck", -41)), {1},
         view(kube_job(), leaving(-100)), None, Wait(at(200))),
        ("of two moments the first, also here", job(running("Starting")), NODE_LOST, {1},
         view(kube_job(), leaving(-10, running_since=at(-3))), None, Wait(at(2))),
        ("a cancel without a grace stops at once", job(running(), cancel=True), queue(cancelGraceSeconds=0), {1},
         view(kube_job(), pod()), POSTED, Suspend(1, NAME)),
        ("one with a grace that is under way is waited for", job(running(**stop("Cancel", -5)), cancel=True), GRACE,
         {1}, view(kube_job(), pod()), POSTED, Wait(at(2))),
        ("until it is over", job(running(**stop("Cancel", -7)), cancel=True), GRACE, {1}, view(kube_job(), pod()),
         POSTED, Suspend(1, NAME)),
        ("any other stop is done at once", job(running(**stop("Stalled"))), GRACE, {1}, view(kube_job(), pod()), None,
         Suspend(1, NAME)),
        ("once suspended it is waited for", job(running(**stop("Stalled"))), GRACE, {1}, view(STOPPING_JOB, pod()),
         None, Wait()),
        ("progress that was not written yet keeps from stalling", job(running()), STALLS, {1},
         view(kube_job(), pod(running_since=at(-90))), POSTED, Wait(at(60))),
        ("a slot for want of a node is released before the status changes", job(running(**stop("Unschedulable"))),
         queue(), {1}, view(SUSPENDED), None, Wait()),
    ],
)  # fmt: skip
def test_a_step(
    rule: str,
    of: AnalysisJob,
    the_queue: AnalysisQueue,
    reserved: set[int],
    looks: AttemptView,
    posted: Progress | None,
    expected: Step,
) -> None:
    assert decide(of, the_queue, reserved, looks, posted) == expected, rule


BEGUN = {"attempt": 1, "jobName": NAME, "jobUID": "j1", "startedAt": T}
STARTED = {"phase": "Starting", "observedGeneration": 1, "attempt": 1, "attempts": {1: BEGUN}, "startedAt": T}
RETRYING = {"phase": "BackingOff", "retries": 1, "nextAttemptAt": wire(at(30))}


def failure(failure_class: str, reason: str, code: int | None = None) -> dict[str, Any]:
    said = {"finishedAt": T, "failureClass": failure_class, "reason": reason}
    return {"attempts": {1: said if code is None else said | {"exitCode": code}}}


@pytest.mark.parametrize(
    ("rule", "of", "the_queue", "reserved", "looks", "posted", "transition", "expected"),
    [
        ("a waiting job is cancelled at once", job(cancel=True), queue(), set(), view(), None, Transition.CANCELLED,
         CANCELLED),
        ("a cleared one says so", job(OLD), queue(asked("Clear", 0)), set(), view(), None, Transition.CLEARED,
         CANCELLED | {"conditions": {"Finished": ("True", "QueueCleared", T)}}),
        ("a due retry waits again at its old place", job(running("BackingOff", nextAttemptAt=T)), queue(), set(),
         view(), None, Transition.RETRY_DUE, {"phase": "Queued", "nextAttemptAt": None}),
        ("so does one that lost its time", job(running("BackingOff")), queue(), set(), view(), None,
         Transition.RETRY_DUE, {"phase": "Queued"}),
        ("its Job exists", job(), queue(), {1}, view(kube_job()), None, Transition.STARTED, STARTED),
        ("aging raises", job(), RISES, set(), view(), None, Transition.AGED, {"effectivePriority": "HIGH"}),
        ("and no longer does", job({"effectivePriority": "HIGH"}), queue(), set(), view(), None, Transition.AGED,
         {"effectivePriority": None}),
        ("a level that is no rise is taken back as well", job({"effectivePriority": "NORMAL"}), queue(), set(), view(),
         None, Transition.AGED, {"effectivePriority": None}),
        ("an occupied name lets a cancelled job go", job(cancel=True), queue(), {1}, view(SUSPENDED), None,
         Transition.CANCELLED, CANCELLED),
        ("what had run before the cancel was seen has succeeded", job(cancel=True), queue(), {1},
         view(kube_job(), ended(0)), None, Transition.STARTED, STARTED),
        ("what had failed is cancelled", job(cancel=True), queue(), {1}, view(kube_job(), ended(1)), None,
         Transition.CANCELLED, CANCELLED),
        ("and what cannot be told to have run", job(cancel=True), queue(), {1}, view(None, ended(0), gone=True), None,
         Transition.CANCELLED, CANCELLED),
        ("a replay takes a new place", job({"phase": "Failed"}, replay=1), queue(), set(), view(), None,
         Transition.REPLAYED,
         {"phase": "Queued", "observedGeneration": 1, "observedReplay": 1, "sequence": 9, "queuedAt": T,
          "conditions": {"Finished": ("False", "Replayed", T), "DeadLettered": ("False", "Replayed", T)}}),
        ("a draining queue refuses it", job({"phase": "Failed"}, replay=1), queue(mode="Draining"), set(), view(),
         None, Transition.REPLAY_REFUSED,
         {"observedReplay": 1, "conditions": {"DeadLettered": ("True", "ReplayRefused", T)}}),
        ("a deleted Job of an attempt that waits for room is followed by another attempt", job(GOES_ON), queue(), set(),
         view(gone=True), None, Transition.SUPERSEDED, failure("Unschedulable", "JobDeleted")),
        ("an attempt that goes on starts anew", job(GOES_ON), queue(), {1}, view(kube_job()), None, Transition.RESUMED,
         {"phase": "Starting", "observedGeneration": 1, "attempts": {1: {"startedAt": T}}, "startedAt": T}),
        ("one that is fenced off is cancelled", job(GOES_ON, cancel=True), queue(), {1}, view(FENCED), None,
         Transition.CANCELLED, CANCELLED | {"attempts": {1: {"finishedAt": T}}}),
        ("a silent worker counts as running, on a node",
         job(running("Starting", conditions=[{"type": "CapacityAvailable", "status": "False"}])), queue(), {1},
         view(kube_job(), pod(running_since=at(-5))), None, Transition.RUNNING,
         {"phase": "Running", "conditions": {"CapacityAvailable": ("True", "Scheduled", T)}}),
        ("a worker that posts is told of a cancel first", job(running(), cancel=True), GRACE, {1},
         view(kube_job(), pod()), POSTED, Transition.STOPPING,
         stop("Cancel", message="The worker is told to stop and has 7 s to do so.")),
        ("a worker that stalls is stopped", job(running()), STALLS, {1},
         view(kube_job(), pod(running_since=at(-60))), None, Transition.STOPPING,
         {"stop": None, "conditions": {"Stalled": ("True", "Stalled", T)}}),
        ("a success names the results", job(running()), queue(results={"url": "s3://b/x"}), {1},
         view(kube_job(), ended(0)), None, Transition.SUCCEEDED,
         FINISHED | {"phase": "Succeeded", "resultUrl": f"s3://b/x/jobs/{UID}/attempts/1/",
                     "attempts": {1: {"finishedAt": T}}, "conditions": {"Finished": ("True", "Succeeded", T)}}),
        ("or the worker does", job(running()), queue(results={"url": "s3://b/x"}), {1},
         view(kube_job(), pod("Succeeded", termination=Termination(0, "", '{"result_url": "s3://mine"}'))), None,
         Transition.SUCCEEDED,
         FINISHED | {"phase": "Succeeded", "resultUrl": "s3://mine", "attempts": {1: {"finishedAt": T}},
                     "conditions": {"Finished": ("True", "Succeeded", T)}}),
        ("a Job may be complete with its pod gone", job(running()), queue(), {1},
         view(kube_job(conditions={"Complete": ""})), None, Transition.SUCCEEDED,
         FINISHED | {"phase": "Succeeded", "attempts": {1: {"finishedAt": T}},
                     "conditions": {"Finished": ("True", "Succeeded", T)}}),
        ("a pod that failed outweighs the Job's word", job(running()), queue(), {1},
         view(kube_job(conditions={"Complete": ""}), ended(1)), None, Transition.RETRYING,
         RETRYING | failure("Transient", "Error", 1)),
        ("a stopped attempt is cancelled", job(running(), cancel=True), queue(), {1}, view(SUSPENDED), None,
         Transition.CANCELLED, CANCELLED | {"attempts": {1: {"finishedAt": T}}}),
        ("what the worker said last is kept", job(running()), queue(retryDelaysSeconds=[7]), {1},
         view(kube_job(), ended(1)), POSTED, Transition.RETRYING,
         RETRYING | failure("Transient", "Error", 1) | {"nextAttemptAt": wire(at(7)), "progress": POSTED.to_wire()}),
        ("not what an earlier attempt said", job(running()), queue(), {1}, view(kube_job(), ended(1)),
         POSTED.model_copy(update={"attempt": 7}), Transition.RETRYING, RETRYING | failure("Transient", "Error", 1)),
        ("nor what is older than what another replica wrote", job(running(progress=LATER.to_wire())), queue(), {1},
         view(kube_job(), ended(1)), POSTED, Transition.RETRYING, RETRYING | failure("Transient", "Error", 1)),
        ("a stop says what the attempt failed of", job(running(**stop("Stalled"))), queue(), {1}, view(SUSPENDED),
         None, Transition.RETRYING, RETRYING | failure("Stalled", "Stalled") | {"stop": None}),
        ("unless it was for an earlier attempt",
         job(running(attempt=2, attempts=[{"attempt": 2}], **stop("Stalled"))), queue(), {2},
         view(kube_job(2), ended(1)), None, Transition.RETRYING,
         RETRYING | {"stop": None, "attempts": {2: failure("Transient", "Error", 1)["attempts"][1]}}),
        ("an uncancelled stop of a cancel is what the pod says", job(running(**stop("Cancel"))), queue(), {1},
         view(kube_job(), ended(1)), None, Transition.RETRYING,
         RETRYING | failure("Transient", "Error", 1) | {"stop": None}),
        ("no retry is left", job(running(retries=3)), queue(), {1}, view(kube_job(), ended(1)), None,
         Transition.DEAD_LETTERED,
         FINISHED | {"phase": "Failed", "failureFingerprint": classify(view(kube_job(), ended(1))).fingerprint,
                     "conditions": {"Finished": ("True", "Transient", T), "DeadLettered": ("True", "Error", T)}}
         | failure("Transient", "Error", 1)),
        ("a slot given back names what is missing", job(running(**stop("Unschedulable", message=NO_ROOM))), queue(),
         set(), view(SUSPENDED), None, Transition.RETURNED,
         {"phase": "Queued", "stop": None, "conditions": {"CapacityAvailable": ("False", "InsufficientCpu", T)}}),
        ("a pod that found a node just then is followed by another attempt",
         job(running(**stop("Unschedulable", message=NO_ROOM))), queue(), {1}, view(SUSPENDED, ended(143)), None,
         Transition.RETURNED, {"phase": "Queued", "stop": None} | failure("Unschedulable", "Unschedulable")),
    ],
)  # fmt: skip
def test_a_write(
    rule: str,
    of: AnalysisJob,
    the_queue: AnalysisQueue,
    reserved: set[int],
    looks: AttemptView,
    posted: Progress | None,
    transition: Transition,
    expected: dict[str, Any],
) -> None:
    decided = decide(of, the_queue, reserved, looks, posted)
    assert isinstance(decided, WriteStatus), (rule, decided)
    assert decided.transition is transition, rule
    written = changes(of.status, decided.status)
    if transition is Transition.STOPPING and expected["stop"] is None:
        expected = expected | {"stop": written["stop"]}  # its text is the stop's own affair
    assert written == expected, rule
