"""Kueue suspends and resumes attempts as it likes: what the operator makes of that."""

from datetime import timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, QUEUE, SUSPENDED, UID, ended, job, kube_job, pod, running, view
from klipstream_api import AnalysisJob, AnalysisQueue, FailureClass, Phase, names
from klipstream_operator.failures import classify
from klipstream_operator.jobs import WorkerContract, make_job
from klipstream_operator.lifecycle import Launch, ReadLive, Step, Suspend, Wait, WriteStatus, next_step
from klipstream_operator.stops import judge
from klipstream_operator.workload import AttemptView, JobView

STOP = Suspend(1, f"{UID}-a1")
WAITS: dict[str, Any] = {"suspend": True, "conditions": {"Suspended": ""}, "pods_left": 0}


def queue(**spec: Any) -> AnalysisQueue:
    return AnalysisQueue.from_wire(
        {
            "metadata": QUEUE.metadata.to_wire(),
            "spec": QUEUE.spec.to_wire() | {"kueue": {"queueName": "analyses"}} | spec,
        }
    )


def held(**changes: Any) -> JobView:
    """The Job of an attempt that Kueue decides on."""
    return kube_job(queued_in="analyses", **changes)


def step(of: AnalysisJob, looks: AttemptView) -> Step:
    return next_step(of, queue(), frozenset({1}), lambda _: looks, None, NOW)


def test_the_job_of_an_attempt_names_kueues_queue_and_its_pod_does_not() -> None:
    made = make_job(job(), queue(), 1, WorkerContract("http://x"))
    assert made["metadata"]["labels"][names.KUEUE_QUEUE_LABEL] == "analyses"
    assert names.KUEUE_QUEUE_LABEL not in made["spec"]["template"]["metadata"]["labels"]


def test_a_job_that_only_occupies_the_name_is_not_shown_to_kueue() -> None:
    made = make_job(job(), queue(), 1, WorkerContract("http://x"), suspended=True)
    assert names.KUEUE_QUEUE_LABEL not in made["metadata"]["labels"]


@pytest.mark.parametrize(
    ("name", "of", "looks", "expected"),
    [
        ("it waits for its place as Starting", job(running("Starting")), view(held(**WAITS)), Wait()),
        ("a cancel withdraws it while it waits", job(running("Starting"), cancel=True), view(held(**WAITS)), STOP),
        ("withdrawn, it is waited for until Kueue suspends it", job(running(), cancel=True),
         view(held(withdrawn=True), pod()), Wait()),
        ("its pod's end is not yet its own", job(running()), view(held(), ended(0)), Wait()),
        ("it lost its place, and the pod has ended", job(running()), view(held(**WAITS), ended(143)), STOP),
        ("it lost its place, and the pod is gone", job(running()), view(held(**WAITS)), STOP),
        ("its pod is still ending", job(running()), view(held(suspend=True, pods_left=1), pod(deleted_at=NOW)),
         Wait(NOW + timedelta(seconds=300))),
        ("how the pod of a withdrawn one ended is looked for", job(running(), cancel=True),
         AttemptView(job=held(withdrawn=True, **WAITS)), ReadLive(1)),
    ],
)  # fmt: skip
def test_step(name: str, of: AnalysisJob, looks: AttemptView, expected: Step) -> None:
    assert step(of, looks) == expected, name


@pytest.mark.parametrize(
    ("name", "of", "looks", "phase"),
    [
        ("withdrawn while it waited", job(running("Starting"), cancel=True), view(held(withdrawn=True, **WAITS)),
         Phase.CANCELLED),
        ("its own end counts", job(running()), view(held(conditions={"Complete": ""}, pods_left=0), ended(0)),
         Phase.SUCCEEDED),
        ("it failed by itself", job(running()), view(held(conditions={"Failed": ""}, pods_left=0), ended(1)),
         Phase.BACKING_OFF),
        ("the pod before the one that succeeded does not count", job(running()),
         AttemptView(job=held(conditions={"Complete": ""}, pods_left=0),
                     pods={"1": ended(143), "2": ended(0)}), Phase.SUCCEEDED),
        ("what lost its place is tried again at once", job(running()), view(held(withdrawn=True, **WAITS)),
         Phase.QUEUED),
    ],
)  # fmt: skip
def test_status(name: str, of: AnalysisJob, looks: AttemptView, phase: Phase) -> None:
    decided = step(of, looks)
    assert isinstance(decided, WriteStatus), (name, decided)
    assert decided.status.phase is phase, name


def test_an_attempt_that_lost_its_place_burns_no_retry_and_says_why() -> None:
    failure = classify(view(held(withdrawn=True, **WAITS)))
    assert (failure.failure_class, failure.reason) == (FailureClass.INFRASTRUCTURE, "Preempted")
    assert "analyses" in failure.message


def test_no_deadline_runs_out_while_kueue_has_no_place() -> None:
    stale = job(running(startedAt="2020-01-01T00:00:00Z"))
    stalls = queue(stall={"noProgressSeconds": 60})
    assert judge(stale, stalls, view(held(**WAITS)), None, NOW).stop is None
    assert judge(stale, stalls, view(held(), pod("Pending")), None, NOW).stop is None
    began = NOW - timedelta(hours=1)
    assert judge(stale, stalls, view(held(), pod(running_since=began)), None, NOW).stop is not None


def test_a_job_that_only_occupies_the_name_is_withdrawn_where_kueue_took_it_all_the_same() -> None:
    """A LocalQueue named "default" takes every Job of its namespace."""
    given_up = job(cancel=True)
    assert step(given_up, view(None)) == Launch(1, suspended=True)
    assert step(given_up, view(held(**WAITS))) == STOP
    decided = step(given_up, view(held(withdrawn=True, **WAITS)))
    assert isinstance(decided, WriteStatus)
    assert decided.status.phase is Phase.CANCELLED


def test_without_kueue_a_suspended_job_is_over_as_ever() -> None:
    assert SUSPENDED.over
    assert not SUSPENDED.unstopped
