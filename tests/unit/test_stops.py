"""When the operator ends an attempt by itself, one row a case."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, job, kube_job, pod, queue, running, view
from klipstream_api import FailureClass, Progress, Stop, StopReason
from klipstream_operator import stops
from klipstream_operator.workload import Waiting

NO_ROOM = "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. preemption: 0/3 nodes are available."


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def progress(seconds: float) -> Progress:
    return Progress(attempt=1, percentage=10.0, stage="Analyzing", updated_at=at(seconds))


def unschedulable(seconds: float) -> Any:
    since = at(seconds)
    return pod("Pending", node_name="", running_since=None, unschedulable=NO_ROOM, unschedulable_since=since)


def waiting(reason: str, seconds: float) -> Any:
    why = (Waiting("worker", reason, "no such image"),)
    return pod("Pending", running_since=None, waiting=why, scheduled_at=at(seconds))


STALLS = {"stall": {"noProgressSeconds": 60}}
CLEARED = {"operations": [{"name": "ClearStuck", "request": "1", "at": NOW.isoformat()}]}
OLD = {"startedAt": "2026-01-02T02:00:00Z"}


@pytest.mark.parametrize(
    ("rule", "status", "the_queue", "the_pod", "posted", "reason", "look_again"),
    [
        ("a pod without a node is given time", running("Starting"), queue(), unschedulable(-29), None, None, 1),
        ("then its slot is given back", running("Starting"), queue(), unschedulable(-30), None,
         StopReason.UNSCHEDULABLE, None),
        ("an image is given time to come", running("Starting"), queue(), waiting("ImagePullBackOff", -299), None,
         None, 1),
        ("then the attempt has failed", running("Starting"), queue(), waiting("ImagePullBackOff", -300), None,
         StopReason.START_FAILED, None),
        ("a name that is none needs no time", running("Starting"), queue(), waiting("InvalidImageName", 0), None,
         StopReason.START_FAILED, None),
        ("a container on its way is no problem", running("Starting"), queue(), waiting("ContainerCreating", -9999),
         None, None, None),
        ("without the setting nothing stalls", running(), queue(), pod(running_since=at(-9999)), None, None, None),
        ("new progress counts", running(), queue(**STALLS), pod(running_since=at(-100)), progress(-59), None, 1),
        ("no news for too long", running(), queue(**STALLS), pod(running_since=at(-100)), progress(-60),
         StopReason.STALLED, None),
        ("a silent worker counts from its start", running(), queue(**STALLS), pod(running_since=at(-60)), None,
         StopReason.STALLED, None),
        ("what waits for a node does not stall", running("Starting"), queue(**STALLS), unschedulable(0), None,
         None, 30),
        ("clear-stuck ends what showed no sign", running(**OLD), queue(CLEARED), pod(running_since=at(-601)), None,
         StopReason.CLEARED_AS_STUCK, None),
        ("and leaves alone what did", running(**OLD), queue(CLEARED), pod(running_since=at(-601)), progress(-599),
         None, None),
        ("and what started later", running(**OLD), queue(CLEARED), pod(running_since=at(5)), None, None, None),
        ("the queue's own stall time counts for it", running(**OLD), queue(CLEARED, stall={"noProgressSeconds": 7200}),
         pod(running_since=at(-6000)), None, None, 3355),
    ],
)  # fmt: skip
def test_stop(
    rule: str, status: dict[str, Any], the_queue: Any, the_pod: Any, posted: Any, reason: Any, look_again: float | None
) -> None:
    verdict = stops.judge(job(status), the_queue, view(kube_job(), the_pod), posted, NOW)
    assert (verdict.stop.reason if verdict.stop is not None else None) == reason, rule
    assert verdict.look_again == (None if look_again is None else at(look_again)), rule


def test_the_message_says_what_is_missing_and_what_the_scheduler_said() -> None:
    stop = stops.judge(job(running("Starting")), queue(), view(kube_job(), unschedulable(-30)), None, NOW).stop
    assert stop is not None
    assert stop.message.startswith("No node has room (missing: cpu, memory): 0/3 nodes are available")


@pytest.mark.parametrize(
    ("rule", "posted", "grace", "expected"),
    [
        ("a worker that posts progress is told", progress(-1), 10, True),
        ("one that never posted is ended at once", None, 10, False),
        ("and so is any without a grace", progress(-1), 0, False),
        ("progress of an earlier attempt does not count", Progress(attempt=7, percentage=1, stage="s", updated_at=NOW),
         10, False),
    ],
)  # fmt: skip
def test_cancel(rule: str, posted: Progress | None, grace: int, expected: bool) -> None:
    the_queue = queue(cancelGraceSeconds=grace)
    stop = stops.cancel(job(running(), cancel=True), the_queue, posted, NOW)
    assert (stop is not None) == expected, rule
    if stop is not None:
        assert stops.suspend_at(stop, the_queue) == at(grace)


@pytest.mark.parametrize(
    ("reason", "detail", "expected"),
    [
        (StopReason.CANCEL, "", None),
        (StopReason.STALLED, "", FailureClass.STALLED),
        (StopReason.CLEARED_AS_STUCK, "", FailureClass.STALLED),
        (StopReason.START_FAILED, "ImagePullBackOff", FailureClass.TRANSIENT),
        (StopReason.START_FAILED, "InvalidImageName", FailureClass.PERMANENT),
        (StopReason.UNSCHEDULABLE, "Unschedulable", FailureClass.UNSCHEDULABLE),
    ],
)
def test_what_a_stop_counts_as(reason: StopReason, detail: str, expected: FailureClass | None) -> None:
    failure = stops.failure_of(Stop(attempt=1, reason=reason, detail=detail, message="m", at=NOW))
    assert (failure.failure_class if failure is not None else None) == expected


def test_a_stop_other_than_a_cancel_has_no_grace() -> None:
    stop = Stop(attempt=1, reason=StopReason.STALLED, message="", at=NOW)
    assert stops.suspend_at(stop, queue(cancelGraceSeconds=600)) == NOW
