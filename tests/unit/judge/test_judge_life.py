"""The judge finds each broken promise about a job's life in a small history, and nothing in a good one."""

from typing import Any

import pytest

from klipjudge.written import CONTROLLER, OPERATOR, USER, Log, time_of


def begun(log: Log, **spec: Any) -> None:
    """A job with a live pod."""
    log.job("a", **spec)
    log.take(("a", 1))
    log.start("a")


def end(log: Log) -> None:
    log.release(("a", 1))
    log.status("a", phase="Cancelled")


# --- final phases -----------------------------------------------------------------------------------------------

REPLAYED = {"phase": "Queued", "observedReplay": 1, "sequence": 9_999, "finishedAt": None, "conditions": []}


@pytest.mark.parametrize(
    ("final", "after", "found"),
    [
        ("Succeeded", {"phase": "Failed"}, ["terminal"]),
        ("Cancelled", {"phase": "Failed"}, ["terminal"]),
        ("Rejected", {"phase": "Cancelled"}, ["terminal"]),
        ("Failed", {"phase": "Cancelled"}, ["terminal"]),
        ("Failed", REPLAYED, []),
        ("Succeeded", REPLAYED, ["terminal"]),
        ("Failed", {"resultUrl": "s3://b/log"}, []),
    ],
)
def test_only_a_replay_leaves_a_final_phase_and_only_failed(
    log: Log, final: str, after: dict[str, Any], found: list[str]
) -> None:
    begun(log)
    log.pod("pod-a-a1", "Succeeded" if final == "Succeeded" else "Failed", of="a")
    log.status("a", phase=final)
    log.release(("a", 1))
    log.change("a", replay=1)
    log.status("a", **after)
    if after is REPLAYED:
        log.status("a", phase="Cancelled")
    assert [rule for rule in log.rules() if rule != "unfinished"] == found


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ({"attempt": 0}, ["counters"]),
        ({"attempt": 1}, []),
        ({"observedReplay": 1}, ["counters"]),
        ({"observedReplay": 0}, []),
    ],
)
def test_attempts_never_fall_and_nothing_is_replayed_unasked(
    log: Log, status: dict[str, Any], found: list[str]
) -> None:
    begun(log)
    log.pod("pod-a-a1", "Failed", of="a")
    log.status("a", **status)
    end(log)
    assert log.rules() == found


def test_observed_replays_never_fall(log: Log) -> None:
    log.job("a", replay=2)
    log.status("a", observedReplay=2)
    log.status("a", observedReplay=1)
    log.status("a", phase="Cancelled")
    assert log.rules() == ["counters"]


@pytest.mark.parametrize(
    "after", [{"phase": "Cancelled"}, {"phase": "BackingOff"}, {"phase": "Starting", "attempt": 2}]
)
@pytest.mark.parametrize(("ended", "found"), [(True, []), (False, ["settled"])])
def test_an_attempt_is_settled_only_when_its_pod_has_ended(
    log: Log, after: dict[str, Any], ended: bool, found: list[str]
) -> None:
    begun(log)
    if ended:
        log.pod("pod-a-a1", "Failed", of="a")
    log.status("a", **after)
    log.pod("pod-a-a1", "Failed", of="a")
    if after["phase"] != "Cancelled":
        log.status("a", phase="Cancelled")
    assert log.rules() == found


@pytest.mark.parametrize(("how", "found"), [("Succeeded", []), ("Failed", ["success"])])
def test_only_a_pod_that_succeeded_makes_a_job_succeed(log: Log, how: str, found: list[str]) -> None:
    begun(log)
    log.pod("pod-a-a1", how, of="a")
    log.status("a", phase="Succeeded")
    assert log.rules() == found


def test_a_complete_job_whose_pod_is_gone_makes_a_job_succeed(log: Log) -> None:
    begun(log)
    log.batch_job("a", verb="update", conditions=("Complete",), agent=CONTROLLER)
    log.deleted("pods", "pod-a-a1", CONTROLLER)
    log.status("a", phase="Succeeded")
    assert log.rules() == []


# --- cancel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waited_seconds", "found"), [(5, ["cancel", "cancel"]), (0, ["cancel"])])
def test_nothing_is_reserved_or_started_once_a_cancel_can_be_known(
    log: Log, waited_seconds: int, found: list[str]
) -> None:
    log.queue()
    log.job("a")
    log.change("a", cancel=True)
    log.clock += waited_seconds - 0.5
    log.take(("a", 1))
    log.batch_job("a")  # a second later: the cancel is known by now
    log.pod("pod-a-a1", "Failed", of="a")
    end(log)
    assert log.rules() == found


def test_a_start_that_was_under_way_when_the_cancel_came_is_not_judged(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.change("a", cancel=True)
    log.clock -= 0.5
    log.start("a")
    log.pod("pod-a-a1", "Failed", of="a")
    end(log)
    verdict = log.judged()
    assert verdict.violations == []
    assert verdict.checked["cancel"] == 1


def test_a_suspended_job_may_occupy_the_name_after_a_cancel(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.change("a", cancel=True)
    log.batch_job("a", suspend=True)
    end(log)
    assert log.rules() == []


def test_a_resume_after_a_cancel_is_found(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.batch_job("a", suspend=True)
    log.change("a", cancel=True)
    log.clock += 5
    log.batch_job("a", verb="patch")
    log.pod("pod-a-a1", "Failed", of="a")
    end(log)
    assert log.rules() == ["cancel"]


def test_a_cancel_that_came_too_late_leaves_a_success(log: Log) -> None:
    begun(log)
    log.change("a", cancel=True)
    log.succeed("a")
    assert log.rules() == []


# --- retries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "found"),
    [
        ("Transient", {"retries": 1}, []),
        ("Stalled", {"retries": 0}, ["retries"]),
        ("OutOfMemory", {"retries": 2}, ["retries"]),
        ("DiskFull", {"phase": "Failed"}, []),
        ("Permanent", {"phase": "Failed"}, []),
        ("Infrastructure", {"infrastructureLosses": 1}, []),
        ("Infrastructure", {"retries": 1}, ["retries", "losses"]),
        ("Infrastructure", {"retries": 0}, ["losses"]),
        ("Infrastructure", {"phase": "Failed"}, []),
        ("Unschedulable", {}, []),
        ("Unschedulable", {"retries": 1}, ["retries"]),
    ],
)
def test_each_failure_costs_what_its_class_says(log: Log, kind: str, status: dict[str, Any], found: list[str]) -> None:
    begun(log)
    log.fail("a", kind=kind, **status)
    log.release(("a", 1))
    if status.get("phase") != "Failed":
        log.status("a", phase="Cancelled")
    assert log.rules() == found


@pytest.mark.parametrize(
    ("spec", "of_queue", "found"),
    [({}, 1, ["retries"]), ({}, 2, []), ({"maxRetries": 1}, 5, ["retries"]), ({"maxRetries": 2}, 0, [])],
)
def test_no_more_retries_are_used_than_allowed(log: Log, spec: dict[str, Any], of_queue: int, found: list[str]) -> None:
    log.set_queue(maxRetries=of_queue)
    log.clock += 5
    log.job("a", **spec)
    for attempt in (1, 2, 3):
        log.take(("a", attempt))
        log.start("a", attempt)
        final = {"phase": "Failed"} if attempt == 3 else {"retries": attempt}
        log.fail("a", attempt, **final)
        log.release(("a", attempt))
    assert set(log.rules()) == set(found)


def test_the_defaults_stand_in_for_a_queue_that_was_deleted(log: Log) -> None:
    log.set_queue(maxRetries=0)
    begun(log)
    log.delete_queue()
    log.clock += 5
    log.fail("a", retries=1)
    log.status("a", phase="Cancelled")
    assert log.rules() == []


def test_failures_that_count_no_retry_do_not_buy_more_attempts(log: Log) -> None:
    """maxRetries is held against the failures themselves, whatever the counter says."""
    log.set_queue(maxRetries=0)
    log.clock += 5
    begun(log)
    log.fail("a", retries=0)
    log.release(("a", 1))
    log.take(("a", 2))
    log.start("a", 2)
    log.fail("a", 2, phase="Failed")
    assert set(log.rules()) == {"retries"}


def test_a_replay_starts_the_count_anew(log: Log) -> None:
    log.set_queue(maxRetries=0)
    begun(log)
    log.fail("a", phase="Failed")
    log.release(("a", 1))
    log.change("a", replay=1)
    log.status("a", **REPLAYED)
    log.take(("a", 2))
    log.start("a", 2)
    log.fail("a", 2, phase="Failed")
    assert log.rules() == []


@pytest.mark.parametrize(("losses", "found"), [(10, []), (11, ["losses"])])
def test_at_most_ten_losses_are_borne(log: Log, losses: int, found: list[str]) -> None:
    log.job("a")
    for attempt in range(1, losses + 1):
        log.take(("a", attempt))
        log.start("a", attempt)
        log.fail("a", attempt, kind="Infrastructure", infrastructureLosses=attempt)
        log.release(("a", attempt))
    log.status("a", phase="Cancelled")
    assert log.rules() == found


@pytest.mark.parametrize(("kind", "found"), [("Infrastructure", []), ("Transient", ["losses"])])
def test_an_attempt_that_was_lost_with_its_node_is_an_infrastructure_loss(
    log: Log, kind: str, found: list[str]
) -> None:
    begun(log)
    deleted = {"deletionTimestamp": time_of(log.clock - 400), "deletionGracePeriodSeconds": 30}
    log.pod("pod-a-a1", "Failed", of="a", agent=OPERATOR, status={"reason": "NodeLost"}, **deleted)
    counted = {"infrastructureLosses": 1} if kind == "Infrastructure" else {"retries": 1}
    log.status("a", phase="Queued", attempts=log.attempts("a", kind), **counted)
    end(log)
    assert log.rules() == found


@pytest.mark.parametrize(("waits_seconds", "found"), [(60, ["retry-early"]), (1, [])])
def test_a_retry_waits_for_its_time(log: Log, waits_seconds: int, found: list[str]) -> None:
    begun(log)
    log.fail("a", phase="BackingOff", retries=1, nextAttemptAt=time_of(log.clock + waits_seconds))
    log.status("a", phase="Queued", nextAttemptAt=None)
    end(log)
    assert log.rules() == found


# --- progress ---------------------------------------------------------------------------------------------------


def at(percentage: float, attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"attempt": attempt, "percentage": percentage, "stage": "Analyzing"} | more


@pytest.mark.parametrize(
    ("first", "then", "found"),
    [
        (at(50), at(49), ["progress"]),
        (at(50), at(50, message="still there"), []),
        (at(50), at(51), []),
        (at(50), None, ["progress"]),
        (at(50), at(0, attempt=2), []),
        (at(0, attempt=2), at(50, attempt=1), ["progress"]),
    ],
)
def test_progress_never_falls_within_an_attempt(
    log: Log, first: dict[str, Any], then: dict[str, Any] | None, found: list[str]
) -> None:
    begun(log)
    log.status("a", phase="Running", progress=first)
    log.status("a", progress=then)
    log.pod("pod-a-a1", "Failed", of="a")
    end(log)
    assert log.rules() == found


@pytest.mark.parametrize("before", [at(80), None])
def test_progress_is_frozen_once_the_job_is_finished(log: Log, before: dict[str, Any] | None) -> None:
    begun(log)
    log.status("a", phase="Running", progress=before)
    log.succeed("a")
    log.status("a", progress=at(100))
    assert log.rules() == ["progress"]


def test_the_write_of_the_final_phase_may_bring_the_last_progress(log: Log) -> None:
    begun(log)
    log.status("a", phase="Running", progress=at(80))
    log.pod("pod-a-a1", "Succeeded", of="a")
    log.status("a", phase="Succeeded", progress=at(100))
    assert log.rules() == []


# --- announcements ----------------------------------------------------------------------------------------------

TOLD = [{"type": "Finished", "status": "True", "reason": "Cancelled"}]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ({"phase": "Cancelled"}, []),
        ({"phase": "Cancelled", "conditions": []}, ["announced"]),
        ({"phase": "Cancelled", "conditions": [TOLD[0] | {"status": "False"}]}, ["announced"]),
        ({"phase": "Cancelled", "finishedAt": None}, ["announced"]),
    ],
)
def test_a_final_phase_is_written_with_its_condition_and_its_time(
    log: Log, status: dict[str, Any], found: list[str]
) -> None:
    log.job("a")
    log.status("a", **status)
    verdict = log.judged()
    assert [violation.rule for violation in verdict.violations] == found
    assert verdict.checked["announced"] == 1


@pytest.mark.parametrize("early", [{"finishedAt": time_of(0)}, {"conditions": TOLD}])
def test_an_end_that_is_announced_before_it_came_is_found(log: Log, early: dict[str, Any]) -> None:
    log.job("a")
    log.status("a", **early)
    log.status("a", phase="Cancelled")
    assert log.rules() == ["announced"]


@pytest.mark.parametrize(
    ("taken_back", "found"),
    [
        ({"finishedAt": None, "conditions": []}, []),
        ({"finishedAt": None}, ["announced"]),
        ({"conditions": []}, ["announced"]),
    ],
)
def test_a_replay_takes_the_announcement_back(log: Log, taken_back: dict[str, Any], found: list[str]) -> None:
    log.job("a")
    log.status("a", phase="Failed")
    log.change("a", replay=1)
    log.status("a", phase="Queued", observedReplay=1, sequence=9_999, **taken_back)
    log.status("a", phase="Cancelled")
    assert log.rules() == found


def test_a_status_that_somebody_else_wrote_is_judged_as_well(log: Log) -> None:
    log.job("a")
    log.status("a", phase="Succeeded", agent=USER)
    assert log.rules() == ["success"]


@pytest.mark.parametrize(("early_seconds", "found"), [(1, []), (60, ["clock"])])
def test_nothing_has_happened_in_the_future(log: Log, early_seconds: int, found: list[str]) -> None:
    log.submit("a")
    log.accept("a")
    log.status("a", phase="Cancelled", finishedAt=time_of(log.clock + 1 + early_seconds))
    assert log.rules() == found
