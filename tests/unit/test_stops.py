"""When the operator ends an attempt by itself, one row a case."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, job, kube_job, pod, queue, running, view
from klipstream_api import FailureClass, Progress, Stop, StopReason
from klipstream_operator import stops
from klipstream_operator.limits import spec_of
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
        ("as long as the queue says", running("Starting"), queue(capacity={"unschedulableSeconds": 60}),
         unschedulable(-59), None, None, 1),
        ("not where nobody says since when", running("Starting"), queue(),
         pod("Pending", running_since=None, unschedulable=NO_ROOM), None, None, None),
        ("an image is given time to come", running("Starting"), queue(), waiting("ImagePullBackOff", -299), None,
         None, 1),
        ("then the attempt has failed", running("Starting"), queue(), waiting("ImagePullBackOff", -300), None,
         StopReason.START_FAILED, None),
        ("as long as the queue says, too", running("Starting"), queue(startDeadlineSeconds=60),
         waiting("ImagePullBackOff", -59), None, None, 1),
        ("from now on where nobody says since when", running("Starting"), queue(),
         replace(waiting("ImagePullBackOff", 0), scheduled_at=None), None, None, 300),
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
    assert (stop.attempt, stop.reason, stop.detail, stop.at) == (1, StopReason.UNSCHEDULABLE, "Unschedulable", NOW)
    unknown = replace(unschedulable(-30), unschedulable="It is full.")
    stop = stops.judge(job(running("Starting")), queue(), view(kube_job(), unknown), None, NOW).stop
    assert stop is not None
    assert stop.message == "No node has room: It is full."


def test_a_stop_for_a_start_names_the_kubelets_word_and_what_it_said() -> None:
    stop = stops.judge(
        job(running("Starting")), queue(), view(kube_job(), waiting("ErrImagePull", -300)), None, NOW
    ).stop
    assert stop is not None
    assert (stop.attempt, stop.detail, stop.at) == (1, "ErrImagePull", NOW)
    assert "no such image" in stop.message


def test_a_stop_for_a_stall_says_how_long_was_waited() -> None:
    looks = view(kube_job(), pod(running_since=at(-60)))
    stop = stops.judge(job(running()), queue(**STALLS), looks, None, NOW).stop
    assert stop is not None
    assert (stop.attempt, stop.reason, stop.detail, stop.at) == (1, StopReason.STALLED, "", NOW)
    assert "for 60 s" in stop.message
    cleared = stops.judge(
        job(running(**OLD)), queue(CLEARED), view(kube_job(), pod(running_since=None)), None, NOW
    ).stop
    assert cleared is not None
    assert (cleared.at, cleared.message != "", len(cleared.message) < 1024) == (NOW, True, True)


def test_long_words_are_cut_to_what_the_api_server_takes() -> None:
    long = replace(unschedulable(-30), unschedulable="m" * 3000)
    stop = stops.judge(job(running("Starting")), queue(), view(kube_job(), long), None, NOW).stop
    assert stop is not None
    assert len(stop.message) == 1024
    waits = waiting("E" * 300, -300)
    stop = stops.judge(job(running("Starting")), queue(), view(kube_job(), waits), None, NOW).stop
    assert stop is not None
    assert stop.detail == "E" * 128


def test_the_first_moment_to_look_again_counts() -> None:
    both = queue(**STALLS)
    looks = view(kube_job(), pod(running_since=at(-20)), replace(unschedulable(-10), uid="p2"))
    assert stops.judge(job(running()), both, looks, None, NOW).look_again == at(20)
    looks = view(kube_job(), pod(running_since=at(-50)), replace(unschedulable(-10), uid="p2"))
    assert stops.judge(job(running()), both, looks, None, NOW).look_again == at(10)


def test_a_pod_that_goes_already_is_not_judged() -> None:
    for of in (unschedulable(-99), waiting("InvalidImageName", -99)):
        looks = view(kube_job(), replace(of, deleted_at=at(30)))
        assert stops.judge(job(running("Starting")), queue(), looks, None, NOW) == stops.Verdict()
        looks = view(kube_job(), replace(of, deleted_at=at(30)), replace(of, uid="p2"))
        assert stops.judge(job(running("Starting")), queue(), looks, None, NOW).stop is not None, "the next one is"


def test_a_stop_comes_before_a_moment_to_look_again() -> None:
    looks = view(kube_job(), unschedulable(0), replace(waiting("InvalidImageName", 0), uid="p2"))
    stop = stops.judge(job(running("Starting")), queue(), looks, None, NOW).stop
    assert stop is not None
    assert stop.reason is StopReason.START_FAILED


def test_an_attempt_that_nobody_knows_a_sign_of_is_not_stuck() -> None:
    unknown = job(running(startedAt=None))
    looks = view(kube_job(), pod(running_since=None))
    assert stops.last_sign(unknown, looks, None) is None
    assert not stops.is_stuck(unknown, queue(), looks, None, at(99_999))
    assert stops.judge(unknown, queue(**STALLS), looks, None, at(99_999)) == stops.Verdict()


@pytest.mark.parametrize(("seconds", "stuck"), [(599, False), (600, True)])
def test_ten_minutes_without_a_sign_is_stuck_where_the_queue_does_not_say(seconds: int, stuck: bool) -> None:
    looks = view(kube_job(), pod(running_since=at(-seconds)))
    assert stops.is_stuck(job(running(**OLD)), queue(), looks, None, NOW) is stuck


def test_the_latest_sign_counts() -> None:
    written = progress(-7).to_wire()
    looks = view(kube_job(), pod(running_since=at(-9)))
    assert stops.last_sign(job(running()), looks, None) == at(-9)
    assert stops.last_sign(job(running(progress=written)), looks, None) == at(-7)
    assert stops.last_sign(job(running(progress=written)), looks, progress(-5)) == at(-5)
    earlier = progress(-5).model_copy(update={"attempt": 7})
    assert stops.last_sign(job(running(progress=written)), looks, earlier) == at(-7)
    assert stops.last_sign(job(running(startedAt=at(-3).isoformat())), looks, None) == at(-3)


def test_only_a_stop_for_want_of_a_node_gives_its_slot_back_and_only_its_own() -> None:
    given = Stop(attempt=1, reason=StopReason.UNSCHEDULABLE, at=NOW)
    assert stops.gives_back(given, 1)
    assert not stops.gives_back(given, 2)
    assert not stops.gives_back(given.model_copy(update={"reason": StopReason.STALLED}), 1)


@pytest.mark.parametrize(
    ("rule", "posted", "grace", "expected"),
    [
        ("a worker that posts progress is told", progress(-1), 7, True),
        ("one that never posted is ended at once", None, 10, False),
        ("and so is any without a grace", progress(-1), 0, False),
        ("a cancel of a queue that is gone has the default grace", progress(-1), None, True),
        ("progress of an earlier attempt does not count", Progress(attempt=7, percentage=1, stage="s", updated_at=NOW),
         10, False),
    ],
)  # fmt: skip
def test_cancel(rule: str, posted: Progress | None, grace: int | None, expected: bool) -> None:
    the_queue = queue(cancelGraceSeconds=grace) if grace is not None else None
    written = {} if posted is None else {"progress": posted.to_wire()}
    for of, latest in ((job(running(), cancel=True), posted), (job(running(**written), cancel=True), None)):
        stop = stops.cancel(of, the_queue, latest, NOW)
        assert (stop is not None) == expected, rule
        if stop is not None:
            assert stops.suspend_at(stop, the_queue) == at(spec_of(the_queue).cancel_grace_seconds)
            assert (stop.attempt, stop.reason, stop.at) == (1, StopReason.CANCEL, NOW)


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
    if failure is not None:
        assert (failure.reason, failure.message) == (detail if reason is StopReason.START_FAILED else reason.value, "m")


def test_a_stop_other_than_a_cancel_has_no_grace() -> None:
    stop = Stop(attempt=1, reason=StopReason.STALLED, message="", at=NOW)
    assert stops.suspend_at(stop, queue(cancelGraceSeconds=600)) == NOW
