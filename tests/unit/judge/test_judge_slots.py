"""The judge finds each broken promise about slots, pods and Jobs in a small history, and nothing in a good one."""

from typing import Any

import pytest

from klipjudge.vocabulary import JOBS, OPERATOR
from klipjudge.written import CONTROLLER, KUBELET, USER, Log, time_of


def started(log: Log, *uids: str, limit: int = 1) -> None:
    """Jobs that hold a slot each, with a live pod."""
    log.set_queue(limit=limit)
    for uid in uids:
        log.job(uid)
    for uid in uids:
        log.take((uid, 1))
        log.start(uid)


def succeed(log: Log, *uids: str) -> None:
    for uid in uids:
        log.succeed(uid)
        log.release((uid, 1))


def test_a_run_in_order_breaks_no_rule(log: Log) -> None:
    log.job("a")
    log.job("b", priority="HIGH")
    log.run("b")
    log.run("a")
    verdict = log.judged()
    assert verdict.violations == []
    assert (verdict.jobs, verdict.most_live, verdict.reservations) == (2, 1, 2)
    assert verdict.phases == {"Succeeded": 2}


# --- limit ------------------------------------------------------------------------------------------------------


def test_more_live_pods_than_the_limit_are_found(log: Log) -> None:
    started(log, "a")
    log.pod("stray", "Pending", of="b", verb="create", agent=CONTROLLER)
    log.pod("stray", "Failed", of="b")
    succeed(log, "a")
    verdict = log.judged()
    assert [violation.rule for violation in verdict.violations] == ["limit"]
    assert verdict.most_live == 2


def test_a_lowered_limit_stops_no_pod_that_was_reserved_before(log: Log) -> None:
    log.set_queue(limit=2)
    log.job("a")
    log.job("b")
    log.take(("a", 1), ("b", 1))
    log.start("a")
    log.set_queue(limit=1)
    log.start("b")
    succeed(log, "a", "b")
    assert log.rules() == []


def test_a_pod_that_was_reserved_after_the_limit_was_lowered_counts_against_the_lower_one(log: Log) -> None:
    started(log, "a", "b", limit=2)
    log.job("c")
    log.set_queue(limit=1)
    log.take(("c", 1))
    log.start("c")
    succeed(log, "a", "b", "c")
    assert log.rules() == ["overcommit", "limit"]


def test_the_limit_may_be_set_by_the_scale_subresource(log: Log) -> None:
    log.job("a")
    log.job("b")
    log.scale(2)
    log.take(("a", 1), ("b", 1))
    for uid in ("a", "b"):
        log.start(uid)
    succeed(log, "a", "b")
    assert log.rules() == []


@pytest.mark.parametrize(
    ("written", "live"),
    [
        ({"phase": "Succeeded"}, False),
        ({"phase": "Failed"}, False),
        ({"phase": "Running", "deletionTimestamp": "x", "deletionGracePeriodSeconds": 30}, True),
        ({"phase": "Running", "deletionTimestamp": "x", "deletionGracePeriodSeconds": 0, "finalizers": ["f"]}, True),
        ({"phase": "Running", "deletionTimestamp": "x", "deletionGracePeriodSeconds": 0}, False),
        ({"phase": "Running", "verb": "delete"}, False),
        ({"phase": "Running", "verb": "delete", "finalizers": ["f"]}, True),
    ],
)
def test_a_pod_is_live_until_it_ended_or_is_gone(log: Log, written: dict[str, Any], live: bool) -> None:
    log.queue()
    log.pod("p1", "Pending", of="a", verb="create")
    log.pod("p1", of="a", **written)
    log.pod("p2", "Pending", of="b", verb="create")
    assert log.rules() == (["limit"] if live else [])


def test_a_deletion_that_is_answered_without_the_pod_removes_it(log: Log) -> None:
    log.queue()
    log.pod("p1", "Pending", of="a", verb="create")
    log.deleted("pods", "p1", KUBELET)
    log.pod("p2", "Pending", of="b", verb="create")
    assert log.rules() == []


# --- one of each ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "found"), [("a", ["one-pod"]), ("b", [])])
def test_two_live_pods_of_one_analysis_are_found(log: Log, second: str, found: list[str]) -> None:
    log.set_queue(limit=5)
    log.pod("p1", "Running", of="a", attempt=1, verb="create")
    log.pod("p2", "Running", of=second, attempt=2, verb="create")
    assert log.rules() == found


def test_a_second_job_of_an_attempt_is_found(log: Log) -> None:
    started(log, "a")
    log.batch_job("a", 1, "another")
    succeed(log, "a")
    assert log.rules() == ["one-job"]


@pytest.mark.parametrize(("recorded", "found"), [(False, []), (True, ["one-job"])])
def test_a_deleted_job_is_made_again_only_before_its_uid_is_recorded(
    log: Log, recorded: bool, found: list[str]
) -> None:
    log.job("a")
    log.take(("a", 1))
    log.batch_job("a", 1, "job-a-a1")
    if recorded:
        log.status("a", phase="Starting", attempt=1, attempts=[{"attempt": 1, "jobUID": "job-a-a1"}])
    log.deleted("jobs.batch", "a-a1", USER)
    log.batch_job("a", 1, "another")
    log.pod("p1", "Succeeded", of="a")
    log.status("a", phase="Succeeded", attempt=1)
    assert log.rules() == found


def test_a_create_that_was_frozen_while_the_analysis_was_deleted_is_not_judged(log: Log) -> None:
    started(log, "a")
    log.pod("pod-a-a1", "Failed", of="a")
    log.delete("a")
    log.deleted("jobs.batch", "a-a1", CONTROLLER)
    log.release(("a", 1))
    log.batch_job("a", 1, "another")
    assert log.rules() == []


@pytest.mark.parametrize(("created", "found"), [("before", ["limit"]), ("meanwhile", ["limit"]), ("too late", [])])
def test_only_a_job_that_comes_after_the_next_queue_of_that_name_was_looked_over_is_not_held_against_its_limit(
    log: Log, created: str, found: list[str]
) -> None:
    log.set_queue(limit=1)
    log.job("a")
    log.job("b")
    log.take(("a", 1))
    if created == "before":
        log.batch_job("a")
    log.delete_queue()
    if created == "meanwhile":
        log.batch_job("a")
    log.take(("b", 1))
    log.start("b")
    if created == "too late":
        log.batch_job("a")
    log.pod("pod-a", "Pending", of="a", verb="create", agent=CONTROLLER)
    violations = log.judged(seen_seconds=60.0).violations  # nobody had to know of the deletion yet
    assert [each.rule for each in violations if each.rule in ("limit", "reserved-first")] == found


def test_an_attempt_that_is_taken_over_counts_against_the_limit_again(log: Log) -> None:
    log.set_queue(limit=1)
    log.job("a")
    log.job("b")
    log.job("c")
    log.take(("a", 1))
    log.delete_queue()
    log.set_queue(limit=2)
    log.batch_job("a")
    log.pod("pod-a", "Pending", of="a", verb="create", agent=CONTROLLER)
    log.take(("a", 1), ("b", 1))
    log.start("b")
    log.pod("stray", "Pending", of="c", verb="create", agent=CONTROLLER)
    assert "limit" in log.rules()


@pytest.mark.parametrize(
    "entries", [[("a", 1), ("a", 1)], [("a", 1), ("a", 2)]], ids=["the same twice", "two attempts of one job"]
)
def test_an_analysis_that_is_reserved_twice_is_found(log: Log, entries: list[tuple[str, int]]) -> None:
    started(log, "a", limit=2)
    log.queue(*entries)
    log.queue(("a", 1))
    succeed(log, "a")
    assert "one-reservation" in log.rules()


@pytest.mark.parametrize(("attempt", "found"), [(1, ["attempt-once"]), (2, [])])
def test_an_attempt_that_has_ended_is_not_reserved_again(log: Log, attempt: int, found: list[str]) -> None:
    started(log, "a")
    log.fail("a", retries=1)
    log.release(("a", 1))
    log.take(("a", attempt))
    log.batch_job("a", attempt + 10, suspend=True)
    log.status("a", phase="Cancelled", attempt=2)
    assert log.rules() == found


def test_an_attempt_that_found_no_node_is_reserved_again(log: Log) -> None:
    started(log, "a")
    log.pod("pod-a-a1", "Pending", of="a", verb="delete")
    log.batch_job("a", 1, verb="update", suspend=True)
    log.release(("a", 1))
    log.status("a", phase="Queued")
    log.take(("a", 1))
    log.batch_job("a", 1, verb="patch")
    log.pod("second", "Running", of="a", verb="create")
    log.pod("second", "Succeeded", of="a")
    log.status("a", phase="Succeeded", attempts=log.attempts("a"))
    log.release(("a", 1))
    verdict = log.judged()
    assert verdict.violations == []
    assert verdict.checked["reserved-first"] == 2


# --- reservations -----------------------------------------------------------------------------------------------


def test_more_reservations_than_the_limit_are_found(log: Log) -> None:
    log.job("a")
    log.job("b")
    log.take(("a", 1), ("b", 1))
    verdict = log.judged()
    assert verdict.count("overcommit") == 1
    assert verdict.count("unfinished") == 2


def test_a_lowered_limit_releases_no_reservation(log: Log) -> None:
    started(log, "a", "b", limit=2)
    log.set_queue(limit=1)
    succeed(log, "b", "a")
    assert log.rules() == []


def test_a_job_without_a_reservation_is_found_unless_it_is_suspended(log: Log) -> None:
    log.queue()
    log.batch_job("a", suspend=True)
    log.batch_job("b")
    assert log.rules() == ["reserved-first"]


@pytest.mark.parametrize(("agent", "found"), [(OPERATOR, ["reserved-first"]), (USER, [])])
def test_a_resume_by_the_operator_needs_a_reservation(log: Log, agent: str, found: list[str]) -> None:
    log.queue()
    log.batch_job("a", suspend=True)
    log.batch_job("a", verb="patch", agent=agent)
    assert log.rules() == found


@pytest.mark.parametrize(("waited_seconds", "found"), [(0.0, []), (5.0, ["reserved-first"])])
def test_a_deleted_queue_starts_nothing_new(log: Log, waited_seconds: float, found: list[str]) -> None:
    log.job("a")
    log.take(("a", 1))
    log.delete_queue()
    log.clock += waited_seconds - 0.5
    log.start("a")
    log.succeed("a")
    assert [rule for rule in log.rules() if rule != "limit"] == found


@pytest.mark.parametrize(("code", "found"), [(0, []), (504, []), (409, ["reserved-first"])])
def test_a_reservation_whose_writer_was_killed_may_have_happened(log: Log, code: int, found: list[str]) -> None:
    log.job("a")
    log.take(("a", 1))
    log.unanswered(code)
    log.batch_job("a")
    log.queue(("a", 1))
    log.pod("p1", "Running", of="a")
    log.pod("p1", "Succeeded", of="a")
    log.status("a", phase="Succeeded", attempt=1)
    assert log.rules() == found


def test_a_reservation_that_shows_late_is_not_judged_by_what_became_of_the_job_meanwhile(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.unanswered()
    log.start("a")
    log.queue(("a", 1), conditions=[])
    succeed(log, "a")
    assert log.rules() == []


@pytest.mark.parametrize("unanswered", [True, False])
def test_an_acceptance_that_nobody_saw_answered_may_have_happened(log: Log, unanswered: bool) -> None:
    log.queue()
    log.submit("a")
    log.accept("a")
    if unanswered:
        log.unanswered()
    else:
        del log.events[-1]
    log.take(("a", 1))
    log.start("a")
    succeed(log, "a")
    assert log.rules() == ([] if unanswered else ["accepted-first"])


def test_an_acceptance_that_nobody_saw_answered_may_have_come_before_the_submission_was_answered(log: Log) -> None:
    log.queue()
    log.submit("a")
    created = log.events[-1]
    log.accept("a")
    log.unanswered()
    created["stageTimestamp"] = time_of(log.clock + 0.5)
    log.events.append(log.events.pop(-2))  # a log's lines are in the order of their answers
    log.take(("a", 1))
    log.start("a")
    succeed(log, "a")
    assert log.rules() == []


@pytest.mark.parametrize(("runs", "found"), [(True, []), (False, ["initialized-first"])])
def test_a_queue_that_was_not_looked_over_takes_only_what_runs(log: Log, runs: bool, found: list[str]) -> None:
    log.job("a")
    log.take(("a", 1))
    if runs:
        log.start("a")
    log.wipe_queue()
    log.queue(("a", 1))
    if not runs:
        log.start("a")
    succeed(log, "a")
    verdict = log.judged()
    assert [violation.rule for violation in verdict.violations] == found
    assert verdict.checked["initialized-first"] == 1


def test_a_limit_that_was_lowered_meanwhile_does_not_keep_what_runs_from_being_taken_over(log: Log) -> None:
    started(log, "a", "b", limit=2)
    log.wipe_queue()
    log.set_queue(limit=1)
    log.queue(("a", 1), ("b", 1))
    succeed(log, "a", "b")
    assert log.rules() == []


# --- releases ---------------------------------------------------------------------------------------------------


def test_a_slot_that_is_released_while_its_pod_is_live_is_found(log: Log) -> None:
    started(log, "a")
    log.release(("a", 1))
    log.succeed("a")
    assert log.rules() == ["released-early"]


@pytest.mark.parametrize(
    ("conditions", "suspend", "found"),
    [((), False, ["released-early"]), ((), True, []), (("Failed",), False, []), (("Complete",), False, [])],
)
def test_a_slot_is_released_only_when_its_job_starts_no_pod_any_more(
    log: Log, conditions: tuple[str, ...], suspend: bool, found: list[str]
) -> None:
    log.job("a")
    log.take(("a", 1))
    log.batch_job("a")
    log.status("a", phase="Starting", attempt=1)
    log.batch_job("a", verb="update", suspend=suspend, conditions=conditions, agent=CONTROLLER)
    log.release(("a", 1))
    log.status("a", phase="Cancelled")
    assert log.rules() == found


def test_a_job_that_is_gone_does_not_come_back_because_an_answer_was_overtaken(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.batch_job("a")
    log.delete("a")
    log.batch_job("a", verb="update", agent=CONTROLLER)
    log.deleted("jobs.batch", "a-a1", CONTROLLER, uid="job-a-a1")
    log.overtaken()
    log.release(("a", 1))
    assert log.rules() == []


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_pod_whose_finalizer_went_is_gone_at_the_revision_of_its_deletion(log: Log, overtaken: bool) -> None:
    log.job("a")
    log.take(("a", 1))
    log.start("a")
    log.delete("a")
    log.deleted("jobs.batch", "a-a1", CONTROLLER, uid="job-a-a1")
    marks = {"deletionTimestamp": time_of(log.clock), "deletionGracePeriodSeconds": 0}
    pod = {"of": "a", "agent": CONTROLLER, **marks}
    log.pod("pod-a-a1", "Running", verb="delete", finalizers=["batch.kubernetes.io/job-tracking"], **pod)
    log.pod("pod-a-a1", "Running", resourceVersion=str(log.revision), **pod)
    if overtaken:
        log.overtaken()
    log.release(("a", 1))
    assert log.rules() == []


def test_a_deletion_counts_from_when_it_came_and_not_from_when_it_was_answered(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.batch_job("a")
    log.delete("a")
    log.deleted("jobs.batch", "a-a1", CONTROLLER, uid="job-a-a1")
    log.release(("a", 1))
    log.overtaken()
    assert log.rules() == []


def test_a_deletion_that_came_after_a_release_does_not_excuse_it(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.batch_job("a")
    log.delete("a")
    log.release(("a", 1))
    log.deleted("jobs.batch", "a-a1", CONTROLLER, uid="job-a-a1")
    assert log.rules() == ["released-early"]


@pytest.mark.parametrize(("occupied", "found"), [(True, []), (False, ["name-occupied"])])
def test_an_unused_reservation_leaves_an_occupied_name(log: Log, occupied: bool, found: list[str]) -> None:
    log.job("a")
    log.take(("a", 1))
    log.change("a", cancel=True)
    if occupied:
        log.batch_job("a", suspend=True)
    log.release(("a", 1))
    log.status("a", phase="Cancelled")
    verdict = log.judged()
    assert [violation.rule for violation in verdict.violations] == found
    assert verdict.checked["name-occupied"] == 1


def test_reservations_that_somebody_else_wiped_are_not_the_operators_fault(log: Log) -> None:
    started(log, "a")
    log.release(("a", 1), agent=USER)
    log.succeed("a")
    assert log.rules() == []


@pytest.mark.parametrize(
    ("agent", "alive", "found"),
    [(OPERATOR, True, ["job-kept"]), (OPERATOR, False, []), (USER, True, []), (CONTROLLER, False, [])],
)
def test_the_operator_never_deletes_the_job_of_a_living_analysis(
    log: Log, agent: str, alive: bool, found: list[str]
) -> None:
    log.job("a")
    log.run("a")
    if not alive:
        log.delete("a")
    log.deleted("jobs.batch", "a-a1", agent)
    assert log.rules() == found


# --- lost nodes -------------------------------------------------------------------------------------------------


def lose(log: Log, uid: str, waited_seconds: float) -> None:
    """The pod's node is silent: the pod is deleted, and given up after that long."""
    deleted_at = time_of(log.clock)
    marks = {"deletionTimestamp": deleted_at, "deletionGracePeriodSeconds": 30}
    log.pod(f"pod-{uid}-a1", "Running", of=uid, agent=CONTROLLER, **marks)
    log.clock += waited_seconds - 2
    log.pod(f"pod-{uid}-a1", "Failed", of=uid, agent=OPERATOR, status={"reason": "NodeLost"}, **marks)


@pytest.mark.parametrize(
    ("spec", "waited_seconds", "found"),
    [
        ({}, 300, []),
        ({}, 290, ["lost-node"]),
        ({"seconds": 60}, 60, []),
        ({"seconds": 600, "release": False}, 900, ["lost-node"]),
    ],
)
def test_a_pod_is_given_up_with_its_node_no_earlier_than_its_queue_says(
    log: Log, spec: dict[str, Any], waited_seconds: float, found: list[str]
) -> None:
    log.set_queue(nodeLost=spec)
    started(log, "a")
    lose(log, "a", waited_seconds)
    log.status("a", phase="BackingOff", infrastructureLosses=1, attempts=log.attempts("a", "Infrastructure"))
    log.release(("a", 1))
    log.status("a", phase="Cancelled")
    assert log.rules() == found


def test_what_a_lost_node_still_says_of_its_pod_exceeds_no_limit(log: Log) -> None:
    started(log, "a")
    lose(log, "a", 300)
    log.status("a", phase="Queued", infrastructureLosses=1, attempts=log.attempts("a", "Infrastructure"))
    log.release(("a", 1))
    log.take(("a", 2))
    log.pod("pod-a-a1", "Running", of="a")
    log.start("a", 2)
    log.succeed("a", 2)
    log.release(("a", 2))
    assert log.rules() == []


def test_refused_writes_change_nothing(log: Log) -> None:
    log.job("a")
    log.run("a")
    log.event("patch", f"{JOBS}/status", {"metadata": {"name": "a", "uid": "a"}}, code=409)
    assert log.rules() == []
