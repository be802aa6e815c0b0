"""The lifecycle's decisions, one row a case: what is known, and the step that follows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue, Phase
from klipstream_operator import statuses
from klipstream_operator.failures import classify
from klipstream_operator.lifecycle import FailLostPod, Launch, ReadLive, Step, Suspend, Wait, WriteStatus, next_step
from klipstream_operator.transitions import Transition
from klipstream_operator.workload import AttemptView, JobView, PodView, Termination

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "0b8f3c1e-0000-4000-8000-000000000001"
QUEUE = AnalysisQueue.from_wire({
    "metadata": {"name": "q", "namespace": "n", "uid": "q1", "resourceVersion": "5"},
    "spec": {"workerTemplate": {"spec": {"containers": [{"name": "w", "image": "i"}]}}},
})  # fmt: skip


def job(status: dict[str, Any] | None = None, **spec: Any) -> AnalysisJob:
    accepted = {"sequence": 7, "queueName": "q", "queuedAt": "2026-01-02T03:00:00Z"}
    return AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": UID, "resourceVersion": "9", "generation": 1},
        "spec": {"videoUrl": "https://example.com/v.mp4"} | spec,
        "status": accepted | (status or {}),
    })  # fmt: skip


def running(phase: str = "Running", attempt: int = 1, **status: Any) -> dict[str, Any]:
    entry = {"attempt": attempt, "jobName": f"{UID}-a{attempt}", "jobUID": "j1", "startedAt": "2026-01-02T03:01:00Z"}
    return {"phase": phase, "attempt": attempt, "attempts": [entry], "startedAt": "2026-01-02T03:01:00Z"} | status


def kube_job(attempt: int = 1, **changes: Any) -> JobView:
    values: dict[str, Any] = {
        "uid": "j1", "name": f"{UID}-a{attempt}", "namespace": "n", "resource_version": 3, "job_uid": UID,
        "attempt": attempt, "owner_uid": UID, "suspend": False, "pods_left": 1, "conditions": {},
    }  # fmt: skip
    return JobView(**values | changes)


def pod(phase: str = "Running", **changes: Any) -> PodView:
    values: dict[str, Any] = {
        "uid": "p1", "name": "p", "namespace": "n", "resource_version": 4, "job_uid": UID, "attempt": 1,
        "owner_uid": "j1", "phase": phase, "reason": "", "message": "", "deleted_at": None, "node_name": "node",
        "running_since": NOW, "termination": None, "disruption": None, "unschedulable": None,
    }  # fmt: skip
    return PodView(**values | changes)


def seen(view_of: AttemptView | None = None, attempt: int = 1) -> Any:
    return lambda asked: view_of if view_of is not None and asked == attempt else AttemptView()


def view(job_view: JobView | None = None, *pods: PodView, gone: bool = False) -> AttemptView:
    return AttemptView(job=job_view, pods={each.uid: each for each in pods}, job_gone=gone)


def step(of: AnalysisJob, reserved: set[int], looks: AttemptView | None = None, attempt: int = 1) -> Step:
    return next_step(of, QUEUE, frozenset(reserved), seen(looks, attempt), None, NOW)


def ended(code: int, reason: str = "Error", **changes: Any) -> PodView:
    return pod("Succeeded" if code == 0 else "Failed", termination=Termination(code, reason, ""), **changes)


SUSPENDED = kube_job(suspend=True, pods_left=0, conditions={"Suspended": "JobSuspended"})


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
        ("an unaccepted job is not touched", job({"sequence": None}), set(), None, Wait()),
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
