"""The judge finds each broken promise about acceptance and order in a small history, and nothing in a good one."""

from dataclasses import replace
from typing import Any

import pytest

from klipjudge.judge import judge
from klipjudge.written import OPERATOR, Log, time_of


def waiting(log: Log, *uids: str) -> None:
    for uid in uids:
        log.job(uid)


def run_all(log: Log, *uids: str) -> None:
    for uid in uids:
        log.run(uid)


# --- strict priority, first in, first out ---------------------------------------------------------------------------


@pytest.mark.parametrize("better", [{"sequence": 9, "priority": "URGENT"}, {"sequence": 1}])
def test_a_job_taken_before_one_that_comes_first_is_found(log: Log, better: dict[str, Any]) -> None:
    log.queue()
    log.submit("better", **{key: value for key, value in better.items() if key != "sequence"})
    log.submit("worse")
    log.accept("worse", 5)
    log.accept("better", better["sequence"])
    log.take(("worse", 1))
    verdict = log.judged()
    assert [v.message for v in verdict.violations if v.rule == "inversion"] == [
        "ns/worse was taken while ns/better came first "
        "(its last write was answered 990.0 ms before the reservation came in)"
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"sequence": None},
        {"phase": "BackingOff"},
        {"phase": "Cancelled"},
        {"cancel": True},
        {"notBefore": "2100-01-01T00:00:00Z"},
        {"priority": "LOW"},
    ],
)
def test_who_cannot_be_taken_or_comes_later_is_not_passed_over(log: Log, other: dict[str, Any]) -> None:
    described: dict[str, Any] = {"priority": "URGENT", "sequence": 1} | other
    log.submit("other", **{key: value for key, value in described.items() if key not in ("sequence", "phase")})
    if described["sequence"] is not None:
        log.accept("other", 1)
    if "phase" in described:
        log.status("other", phase=described["phase"])
    waiting(log, "taken")
    log.take(("taken", 1))
    verdict = log.judged()
    assert verdict.count("inversion") == 0
    assert verdict.checked["inversion"] == 1


def test_an_acceptance_after_the_reservation_is_no_inversion(log: Log) -> None:
    log.submit("late", priority="URGENT")
    waiting(log, "taken")
    log.take(("taken", 1))
    log.accept("late")
    assert log.judged().count("inversion") == 0


def test_order_is_the_stores_and_not_the_logs(log: Log) -> None:
    log.queue()
    waiting(log, "first", "taken")
    log.take(("taken", 1))
    log.events.reverse()
    assert log.judged().count("inversion") == 1


def test_a_holder_of_a_slot_is_not_passed_over(log: Log) -> None:
    log.set_queue(limit=2)
    waiting(log, "a", "b")
    log.take(("a", 1))
    log.take(("b", 1))
    assert log.judged().count("inversion") == 0


@pytest.mark.parametrize(("waited_seconds", "found"), [(0, 0), (5, 1)])
def test_a_patched_priority_counts_once_it_can_be_known(log: Log, waited_seconds: int, found: int) -> None:
    log.queue()
    waiting(log, "a", "b")
    log.change("b", priority="URGENT")
    log.clock += waited_seconds - 0.5
    log.take(("a", 1))
    assert log.judged().count("inversion") == found


@pytest.mark.parametrize(("shape", "found"), [("default", 0), ("0123456789ab", 1)])
def test_a_size_that_the_cluster_has_no_room_for_may_be_passed_over(log: Log, shape: str, found: int) -> None:
    log.job("first")
    log.job("small", resources={"requests": {"cpu": "1"}})
    log.queue(capacity=[{"shape": shape}])
    log.take(("small", 1))
    assert log.judged().count("inversion") == found


@pytest.mark.parametrize(("cleared_before", "found"), [(True, 1), (False, 0)])
def test_a_job_that_was_cleared_is_not_passed_over(log: Log, cleared_before: bool, found: int) -> None:
    cleared_at = time_of(log.clock - 10 if cleared_before else log.clock + 10)
    log.job("first")
    log.clock += 20
    log.queue(operations=[{"name": "Clear", "at": cleared_at}])
    log.job("second")
    log.take(("second", 1))
    assert log.judged().count("inversion") == found


@pytest.mark.parametrize(("acceptor", "found"), [(f"{OPERATOR}-b", 0), (OPERATOR, 1)])
def test_what_another_operator_accepted_meanwhile_could_not_be_known(log: Log, acceptor: str, found: int) -> None:
    log.queue()
    log.submit("first", priority="URGENT")
    waiting(log, "taken")
    log.accept("first", agent=acceptor)
    log.take(("taken", 1))
    log.events[-1]["requestReceivedTimestamp"] = time_of(log.clock - 3)  # long on its way
    assert log.judged().count("inversion") == found


@pytest.mark.parametrize(("process", "later_seconds", "found"), [("b", 0.5, 0), ("b", 1.5, 1), ("a", 0.5, 1)])
def test_what_another_process_accepted_is_known_when_a_watch_has_told_it(
    log: Log, process: str, later_seconds: float, found: int
) -> None:
    log.queue()
    log.submit("first", priority="URGENT")
    waiting(log, "taken")
    log.accept("first")
    log.events[-1]["userAgent"] = f"{OPERATOR} ({process})"
    log.clock += later_seconds - 1
    log.take(("taken", 1))
    log.events[-1]["userAgent"] = f"{OPERATOR} (a)"
    assert log.judged().count("inversion") == found


# --- sequences --------------------------------------------------------------------------------------------------


def test_a_shared_sequence_is_found(log: Log) -> None:
    log.submit("a")
    log.submit("b")
    log.accept("a", 7)
    log.accept("b", 7)
    run_all(log, "a", "b")
    assert log.rules() == ["sequence"]


@pytest.mark.parametrize(
    ("status", "found"), [({"sequence": 5}, ["sequence"]), ({"sequence": None}, ["sequence"]), ({}, [])]
)
def test_a_sequence_is_kept(log: Log, status: dict[str, Any], found: list[str]) -> None:
    waiting(log, "a")
    log.status("a", **status)
    log.status("a", phase="Cancelled")
    assert log.rules() == found


@pytest.mark.parametrize(("sequence", "found"), [(1, ["sequence"]), (9_999, [])])
def test_a_replay_takes_a_higher_sequence(log: Log, sequence: int, found: list[str]) -> None:
    waiting(log, "a")
    log.status("a", phase="Failed")
    log.change("a", replay=1)
    log.status("a", phase="Queued", observedReplay=1, sequence=sequence, finishedAt=None, conditions=[])
    log.status("a", phase="Cancelled")
    assert log.rules() == found


@pytest.mark.parametrize(("seconds_later", "found"), [(0.5, ["fifo"]), (5.0, [])])
def test_sequences_that_are_not_in_order_of_creation_are_found(
    log: Log, seconds_later: float, found: list[str]
) -> None:
    """A change costs a job its place only while nobody looked: an operator accepts within a second."""
    log.submit("earlier")
    created = log.clock
    log.submit("later")
    log.clock = created + seconds_later - 1.0
    log.change("earlier", priority="HIGH")
    log.clock = max(log.clock, created + 2.0)
    log.accept("later")
    log.accept("earlier")
    run_all(log, "earlier", "later")
    assert log.rules() == found


def test_a_submission_that_could_not_be_seen_yet_may_come_later(log: Log) -> None:
    log.submit("earlier")
    log.clock -= 0.9
    log.submit("later")
    log.clock -= 0.9
    log.accept("later", 5)
    log.accept("earlier", 6)
    run_all(log, "later", "earlier")
    assert log.rules() == []


def test_creations_that_their_timestamps_order_otherwise_may_come_either_way(log: Log) -> None:
    log.submit("a", created_at=log.clock + 10)
    log.submit("b")
    log.accept("b", 5)
    log.accept("a", 6)
    run_all(log, "b", "a")
    assert log.rules() == []


# --- who may be reserved ----------------------------------------------------------------------------------------


def test_a_reservation_before_acceptance_is_found(log: Log) -> None:
    log.submit("a")
    log.take(("a", 1))
    log.accept("a")
    log.start("a")
    log.succeed("a")
    assert log.rules() == ["accepted-first"]


def test_a_reservation_in_another_queue_than_the_jobs_is_found(log: Log) -> None:
    log.set_queue(name="other")
    log.submit("a")
    log.accept("a", queue="other")
    log.take(("a", 1))
    log.start("a")
    log.succeed("a")
    assert log.rules() == ["accepted-first"]


@pytest.mark.parametrize(("phase", "found"), [("BackingOff", ["waiting-only"]), ("Queued", [])])
def test_only_a_queued_job_is_reserved(log: Log, phase: str, found: list[str]) -> None:
    waiting(log, "a")
    log.status("a", phase=phase)
    log.take(("a", 1))
    log.start("a")
    log.succeed("a")
    assert log.rules() == found


@pytest.mark.parametrize(("mode", "found"), [("Paused", ["paused"]), ("Draining", []), ("Running", [])])
def test_a_paused_queue_reserves_nothing(log: Log, mode: str, found: list[str]) -> None:
    waiting(log, "a")
    log.set_queue(mode=mode)
    log.run("a")
    assert log.rules() == found


@pytest.mark.parametrize(("waits_seconds", "found"), [(60, ["not-before"]), (-60, [])])
def test_no_job_is_reserved_before_its_time(log: Log, waits_seconds: int, found: list[str]) -> None:
    log.job("a", notBefore=time_of(log.clock + waits_seconds))
    log.run("a")
    verdict = log.judged()
    assert [violation.rule for violation in verdict.violations] == found
    assert verdict.checked["not-before"] == 1


def test_a_time_that_was_put_off_just_now_may_not_be_known_yet(log: Log) -> None:
    log.queue()
    waiting(log, "a")
    log.change("a", notBefore=time_of(log.clock + 60))
    log.clock -= 0.5
    log.run("a")
    assert log.rules() == []


# --- acceptance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waited_seconds", "found"), [(5, ["draining"]), (0, [])])
def test_a_draining_queue_accepts_nothing_once_that_can_be_known(
    log: Log, waited_seconds: int, found: list[str]
) -> None:
    log.submit("a")
    log.queue()
    log.set_queue(mode="Draining")
    log.clock += waited_seconds - 0.5
    log.accept("a")
    log.run("a")
    assert log.rules() == found


@pytest.mark.parametrize(("size", "found"), [(1, ["full"]), (2, [])])
def test_a_full_queue_accepts_nothing(log: Log, size: int, found: list[str]) -> None:
    log.set_queue(maxQueueSize=size)
    log.clock += 5
    waiting(log, "a", "b")
    run_all(log, "a", "b")
    assert log.rules() == found


def test_holders_of_a_slot_do_not_fill_the_queue(log: Log) -> None:
    log.set_queue(maxQueueSize=1)
    log.clock += 5
    waiting(log, "a")
    log.take(("a", 1))
    waiting(log, "b")
    log.start("a")
    log.succeed("a")
    log.release(("a", 1))
    log.run("b")
    assert log.rules() == []


def test_a_retry_that_came_back_just_now_does_not_count_against_an_acceptance(log: Log) -> None:
    log.set_queue(maxQueueSize=1)
    log.clock += 5
    waiting(log, "a")
    log.take(("a", 1))
    log.start("a")
    log.fail("a", phase="BackingOff", retries=1)
    log.release(("a", 1))
    log.submit("b")
    log.status("a", phase="Queued")
    log.clock -= 0.5
    log.accept("b")
    for uid in ("a", "b"):
        log.status(uid, phase="Cancelled")
    assert log.rules() == []


# --- what a simulation knows ------------------------------------------------------------------------------------


def judged_with(log: Log, number: int, **known: Any) -> list[str]:
    """The rules that were broken, where more is known of one request, counted from the end."""
    requests = log.requests()
    requests[number] = replace(requests[number], **known)
    return [violation.rule for violation in judge(requests).violations if violation.rule != "unfinished"]


@pytest.mark.parametrize(("told", "found"), [(True, ["inversion"]), (False, [])])
def test_a_patch_that_the_sender_was_not_told_of_decides_nothing(log: Log, told: bool, found: list[str]) -> None:
    log.queue()
    waiting(log, "a", "b")
    accepted = log.revision
    log.change("b", priority="URGENT")
    seen = {"a": accepted, "b": log.revision if told else accepted}
    log.clock += 60
    log.take(("a", 1))
    assert judged_with(log, -1, seen=seen) == found


@pytest.mark.parametrize(("first_told", "found"), [("created", ["fifo"]), ("changed", [])])
def test_a_place_is_lost_only_by_a_change_that_came_before_its_operator_had_heard_of_the_job(
    log: Log, first_told: str, found: list[str]
) -> None:
    log.submit("earlier")
    created = log.revision
    log.submit("later")
    log.clock -= 1.5
    log.change("earlier", priority="HIGH")
    known = {"created": created, "changed": log.revision}[first_told]
    log.accept("later", 5)
    log.accept("earlier", 6)
    assert judged_with(log, -1, first_seen={"earlier": known}) == found


@pytest.mark.parametrize(("told", "found"), [(True, ["inversion"]), (False, [])])
def test_a_size_that_the_sender_was_not_told_of_decides_nothing(log: Log, told: bool, found: list[str]) -> None:
    log.queue()
    waiting(log, "a", "b")
    accepted = log.revision
    log.change("a", resources={"requests": {"cpu": "1"}})
    seen = {"a": log.revision if told else accepted, "b": accepted}
    log.clock += 60
    log.take(("b", 1))
    assert judged_with(log, -1, seen=seen) == found


@pytest.mark.parametrize(("on_its_way_seconds", "found"), [(30, []), (1, ["cancel"])])
def test_what_happened_while_a_request_was_on_its_way_decides_nothing(
    log: Log, on_its_way_seconds: int, found: list[str]
) -> None:
    log.queue()
    waiting(log, "a")
    log.change("a", cancel=True)
    log.clock += 20
    log.take(("a", 1))
    assert judged_with(log, -1, sent=log.clock - on_its_way_seconds) == found


@pytest.mark.parametrize(("told", "found"), [(True, ["reserved-first"]), (False, [])])
def test_a_queue_whose_deletion_was_not_told_still_covers_a_start(log: Log, told: bool, found: list[str]) -> None:
    waiting(log, "a")
    log.take(("a", 1))
    log.delete_queue()
    log.clock += 60
    log.batch_job("a")
    assert judged_with(log, -1, seen={"queue-q": log.revision if told else 1}) == found


def test_operators_are_known_by_what_their_agents_begin_with(log: Log) -> None:
    log.job("a")
    log.delete("a", agent="replica-b.2")
    assert log.rules(operators=("replica-",)) == ["purged"]
    assert log.rules() == []


def test_a_job_whose_slot_is_released_waits_from_then_on(log: Log) -> None:
    """Its slot is not given to one that comes after it in the very write that takes it away."""
    log.queue()
    log.submit("first", priority="URGENT")
    log.submit("second", priority="LOW")
    log.accept("first")
    log.accept("second")
    log.take(("first", 1))
    log.start("first")
    log.fail("first", kind="Infrastructure", infrastructureLosses=1)
    log.queue(("second", 1))
    assert "inversion" in log.rules()
