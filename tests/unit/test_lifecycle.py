"""The lifecycle's decisions, one row a case: what is known, and the step that follows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from klipfake.objects import NOW, QUEUE, SUSPENDED, UID, ended, job, kube_job, pod, running, view
from klipstream_api import AnalysisJob, Phase
from klipstream_operator import statuses
from klipstream_operator.failures import classify
from klipstream_operator.lifecycle import (
    FailLostPod,
    FenceOff,
    Launch,
    ReadLive,
    Step,
    Suspend,
    Wait,
    WriteStatus,
    is_settled,
    next_step,
)
from klipstream_operator.store import Store
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import AttemptView, JobView, PodView, Termination, Waiting


def seen(view_of: AttemptView | None = None, attempt: int = 1) -> Any:
    return lambda asked: view_of if view_of is not None and asked == attempt else AttemptView()


def unread(job_view: JobView) -> AttemptView:
    """A Job whose pods were not asked for yet."""
    return AttemptView(job=job_view)


def step(of: AnalysisJob, reserved: set[int], looks: AttemptView | None = None, attempt: int = 1) -> Step:
    return next_step(of, QUEUE, frozenset(reserved), seen(looks, attempt), None, NOW)


@pytest.mark.parametrize(
    ("name", "of", "reserved", "looks", "expected"),
    [
        ("a waiting job waits", job(), set(), None, Wait()),
        ("a reserved job is launched", job(), {1}, None, Launch(1)),
        ("a job held back waits until then", job(notBefore="2026-01-02T04:00:00Z"), set(), None,
         Wait(datetime(2026, 1, 2, 4, tzinfo=UTC))),
        ("a cancelled reservation occupies the name first", job(cancel=True), {1}, None, Launch(1, suspended=True)),
        ("a cancelled job whose Job came first is stopped", job(cancel=True), {1}, view(kube_job(), pod()),
         Suspend(1, f"{UID}-a1")),
        ("a cancelled job whose queue is gone with its reservation is stopped all the same", job(cancel=True), set(),
         view(kube_job(), pod()), Suspend(1, f"{UID}-a1")),
        ("a cancelled job whose queue is gone waits for the end of its pod", job(cancel=True), set(),
         view(kube_job(suspend=True), pod()), Wait()),
        ("a cancelled job whose queue and Job are gone waits for the end of its pod", job(cancel=True), set(),
         view(None, pod()), Wait()),
        ("a stopping attempt is waited for", job(running(), cancel=True), {1},
         view(kube_job(suspend=True), pod()), Wait()),
        ("a running cancelled attempt is stopped", job(running(), cancel=True), {1}, view(kube_job(), pod()),
         Suspend(1, f"{UID}-a1")),
        ("a missing Job is looked for before it is believed gone", job(running()), {1}, None, ReadLive(1)),
        ("a settled slot of which nothing is known is looked for", job({"phase": "Failed", "attempt": 1}), {1}, None,
         ReadLive(1)),
        ("a finished job rests", job({"phase": "Succeeded", "attempt": 1}), {1}, view(kube_job(), ended(0)), Wait()),
        ("a backoff is waited for", job(running("BackingOff", nextAttemptAt="2026-01-02T03:05:00Z")), set(), None,
         Wait(datetime(2026, 1, 2, 3, 5, tzinfo=UTC))),
        ("a pod on a lost node is ended after its time", job(running()), {1},
         view(kube_job(), pod(deleted_at=NOW - timedelta(seconds=301))),
         FailLostPod(pod(deleted_at=NOW - timedelta(seconds=301)))),
        *((f"how the pod ended is looked for when its Job says first that it is {name}", job(running(), cancel=cancel),
           {1}, unread(kube_job(conditions={name: ""}, pods_left=0, suspend=cancel)), ReadLive(1))
          for name, cancel in (("Failed", False), ("Complete", False), ("Suspended", True))),
        ("an unaccepted job is not touched", job({"sequence": None, "queueName": None}), set(), None, Wait()),
    ],
)  # fmt: skip
def test_step(name: str, of: AnalysisJob, reserved: set[int], looks: AttemptView | None, expected: Step) -> None:
    assert step(of, reserved, looks) == expected, name


@pytest.mark.parametrize(
    ("name", "of", "reserved", "looks", "phase", "transition"),
    [
        ("its Job exists", job(), {1}, view(kube_job()), Phase.STARTING, Transition.STARTED),
        ("a silent worker counts as running", job(running("Starting")), {1},
         view(kube_job(), pod(running_since=NOW - timedelta(seconds=5))), Phase.RUNNING, Transition.RUNNING),
        ("the pod's end decides, not the Job's condition", job(running()), {1}, view(kube_job(), ended(0)),
         Phase.SUCCEEDED, Transition.SUCCEEDED),
        ("a Job may be complete without a pod left", job(running()), {1},
         view(kube_job(conditions={"Complete": ""}, pods_left=0)), Phase.SUCCEEDED, Transition.SUCCEEDED),
        ("a transient failure backs off", job(running()), {1}, view(kube_job(), ended(1)), Phase.BACKING_OFF,
         Transition.RETRYING),
        ("a cancel that comes too late loses", job(running(), cancel=True), {1}, view(SUSPENDED, ended(0)),
         Phase.SUCCEEDED, Transition.SUCCEEDED),
        ("a stopped attempt is cancelled", job(running(), cancel=True), {1}, view(SUSPENDED), Phase.CANCELLED,
         Transition.CANCELLED),
        ("a waiting job is cancelled at once", job(cancel=True), set(), None, Phase.CANCELLED, Transition.CANCELLED),
        ("a cancelled job whose queue is gone ends with its pod", job(cancel=True), set(), view(SUSPENDED),
         Phase.CANCELLED, Transition.CANCELLED),
        ("an occupied name lets go of a cancelled one", job(cancel=True), {1}, view(SUSPENDED), Phase.CANCELLED,
         Transition.CANCELLED),
        ("the first lost attempt is repeated at once", job(running()), {1}, view(None, gone=True), Phase.QUEUED,
         Transition.RETRYING),
        ("a due retry waits again", job(running("BackingOff", nextAttemptAt="2026-01-02T03:04:05Z")), set(), None,
         Phase.QUEUED, Transition.RETRY_DUE),
        ("a replay waits again", job({"phase": "Failed", "attempt": 4}, replay=1), set(), None, Phase.QUEUED,
         Transition.REPLAYED),
        ("no retry is left", job(running(retries=3)), {1}, view(kube_job(), ended(1)), Phase.FAILED,
         Transition.DEAD_LETTERED),
        ("a deadline burns a retry", job(running()), {1},
         view(kube_job(), pod("Failed", reason="DeadlineExceeded")), Phase.BACKING_OFF, Transition.RETRYING),
        ("memory ran out", job(running()), {1}, view(kube_job(), ended(137, "OOMKilled")), Phase.BACKING_OFF,
         Transition.RETRYING),
        ("an eviction for disk burns a retry", job(running()), {1}, view(kube_job(), pod("Failed", reason="Evicted")),
         Phase.BACKING_OFF, Transition.RETRYING),
        ("a disruption burns none", job(running()), {1}, view(kube_job(), ended(137, disruption="Preempted")),
         Phase.QUEUED, Transition.RETRYING),
    ],
)  # fmt: skip
def test_status(
    name: str, of: AnalysisJob, reserved: set[int], looks: AttemptView | None, phase: Phase, transition: Transition
) -> None:
    decided = step(of, reserved, looks)
    assert isinstance(decided, WriteStatus), (name, decided)
    assert (decided.status.phase, decided.transition) == (phase, transition), name


def test_a_lost_node_burns_no_retry() -> None:
    decided = step(job(running(retries=3)), {1}, view(kube_job(), pod("Failed", reason="NodeLost")))
    assert isinstance(decided, WriteStatus)
    assert (decided.status.retries, decided.status.infrastructure_losses) == (3, 1)
    assert decided.status.phase is Phase.QUEUED


def test_the_eleventh_loss_is_final() -> None:
    decided = step(job(running(infrastructureLosses=10)), {1}, view(None, gone=True))
    assert isinstance(decided, WriteStatus)
    assert decided.status.phase is Phase.FAILED
    assert decided.status.failure_fingerprint


def test_a_retry_keeps_its_sequence_and_a_replay_takes_a_new_one() -> None:
    retried = statuses.failed(job(running()), QUEUE, classify(view(kube_job(), ended(1))), NOW)
    assert retried.sequence == 7
    assert retried.next_attempt_at == NOW + timedelta(seconds=30)
    assert statuses.replayed(job({"phase": "Failed"}, replay=1), NOW).sequence == 9


@pytest.mark.parametrize(("retries", "delay"), [(0, 30), (1, 120), (2, 300)])
def test_delays_follow_the_guide(retries: int, delay: int) -> None:
    status = statuses.failed(job(running(retries=retries)), QUEUE, classify(view(kube_job(), ended(1))), NOW)
    assert status.next_attempt_at == NOW + timedelta(seconds=delay)


def test_a_success_names_where_the_results_are() -> None:
    message = '{"result_url": "s3://bucket/x.json"}'
    status = statuses.succeeded(job(running()), QUEUE, pod("Succeeded", termination=Termination(0, "", message)), NOW)
    assert status.result_url == "s3://bucket/x.json"
    assert status.finished_at == NOW


NO_ROOM = {
    "type": "CapacityAvailable", "status": "False", "reason": "InsufficientCpu", "message": "No node has room.",
    "lastTransitionTime": "2026-01-02T03:02:00Z",
}  # fmt: skip


@pytest.mark.parametrize("code", [0, 1])
def test_an_attempt_that_ends_before_it_counts_as_running_had_a_node_all_the_same(code: int) -> None:
    decided = step(job(running("Starting", conditions=[NO_ROOM])), {1}, view(kube_job(), ended(code)))
    assert isinstance(decided, WriteStatus)
    assert {c.status for c in decided.status.conditions if c.type == "CapacityAvailable"} == {"True"}


def test_a_resumed_attempts_pods_are_asked_for_again() -> None:
    """That a suspended Job had no pod says nothing of the one that it makes when it goes on."""
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_workload(SUSPENDED)
    store.mark_without_pods((UID, 1))
    assert not store.attempt((UID, 1)).end_unseen
    store.put_workload(kube_job(resource_version=4))
    store.put_workload(kube_job(resource_version=5, pods_left=0, conditions={"Failed": "BackoffLimitExceeded"}))
    assert store.attempt((UID, 1)).end_unseen


@pytest.mark.parametrize(("fenced", "expected"), [(False, FenceOff), (True, WriteStatus)])
def test_an_attempt_whose_pod_has_ended_is_not_resumed(fenced: bool, expected: type[Step]) -> None:
    """Found by simulation: its end was seen late, so the attempt seemed to be over while its next pod was coming."""
    waiting = job(
        {"phase": "Queued", "attempt": 1, "attempts": [{"attempt": 1, "jobUID": "j", "jobName": f"{UID}-a1"}]}
    )
    assert statuses.resumable(waiting.status)
    found = step(waiting, {1}, view(kube_job(suspend=True, fenced=fenced, conditions=SUSPENDED), ended(143)))
    assert isinstance(found, expected)
    if isinstance(found, WriteStatus):
        assert found.transition is Transition.SUPERSEDED
        assert not statuses.resumable(found.status)


STATES = (
    job(), job(cancel=True), job(running("Starting")), job(running()), job(running(), cancel=True),
    job(running(stop={"attempt": 1, "reason": "Unschedulable", "message": "m", "at": NOW.isoformat()})),
    job({"phase": "BackingOff", "attempt": 1}), job({"phase": "Failed", "attempt": 1}, replay=1),
)  # fmt: skip
RUNS = (
    pod("Pending", running_since=None), pod(), pod(deleted_at=NOW - timedelta(hours=1)), ended(0), ended(1),
    pod("Pending", running_since=None, unschedulable="0/1 nodes", unschedulable_since=NOW - timedelta(hours=1)),
)  # fmt: skip
OWNERS = (kube_job(), kube_job(suspend=True), SUSPENDED, kube_job(conditions={"Complete": ""}))
IDLE: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"node_name": "other", "scheduled_at": NOW}, {}),
    ({"waiting": (Waiting("w", "ContainerCreating", ""),), "never_ran": True}, {}),
    ({"created_at": NOW, "message": "said more"}, {"pods_left": 2}),
)


@pytest.mark.parametrize(("of_pod", "of_job"), IDLE)
def test_what_is_not_decisive_changes_no_step(of_pod: dict[str, Any], of_job: dict[str, Any]) -> None:
    """The store has nobody look at a job for what `decisive` leaves out."""
    cases = 0
    for of, run, owner, reserved in product(STATES, RUNS, OWNERS, ({1}, set[int]())):
        other_run, other_owner = replace(run, **of_pod), replace(owner, **of_job)
        if (other_run.decisive, other_owner.decisive) != (run.decisive, owner.decisive):
            continue
        cases += 1
        one = step(of, reserved, view(owner, run))
        other = step(of, reserved, view(other_owner, other_run))
        assert _kind(one) == _kind(other), (of.status.phase, run, owner, reserved)
    assert cases > 100


def _kind(step: Step) -> object:
    """What is done; a status tells the node, and a pod that is given up is the one that was seen."""
    match step:
        case WriteStatus(_, transition):
            return transition
        case FailLostPod(pod_view):
            assert isinstance(pod_view, PodView)
            return pod_view.uid
    return step


@pytest.mark.parametrize(
    ("of", "reserved", "settled"),
    [
        (job({"queueName": None}), set(), True),
        (job(), set(), False),
        (job(running()), {1}, False),
        (job({"phase": "BackingOff", "attempt": 1}), set(), False),
        (job({"phase": "Succeeded", "attempt": 1}), {1}, False),
        (job({"phase": "Succeeded", "attempt": 1}), set(), True),
        (job({"phase": "Cancelled"}), set(), True),
        (job({"phase": "Failed", "attempt": 1}), set(), True),
        (job({"phase": "Failed", "attempt": 1}, replay=1), set(), False),
        (job({"phase": "Failed", "attempt": 1, "observedReplay": 1}, replay=1), set(), True),
        (job({"phase": "Succeeded", "attempt": 1}, replay=1), set(), True),
    ],
)
def test_a_job_is_settled_when_nothing_that_runs_can_bring_a_step(
    of: AnalysisJob, reserved: set[int], settled: bool
) -> None:
    assert is_settled(of, frozenset(reserved)) is settled
