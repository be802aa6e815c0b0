"""The judge finds what was left undone, what was deleted too early, and what was written for nothing."""

import pytest

from klipjudge.history import as_written
from klipjudge.judge import judge
from klipjudge.vocabulary import JOBS
from klipjudge.written import CONTROLLER, OPERATOR, START, USER, Log, time_of


def test_a_job_that_is_never_finished_is_found(log: Log) -> None:
    log.job("a")
    log.submit("b")
    assert log.rules() == ["unfinished", "unfinished"]


def test_a_deleted_job_is_missed_by_nobody(log: Log) -> None:
    log.job("a")
    log.delete("a")
    assert log.rules() == []


def test_a_job_whose_last_finalizer_went_is_gone(log: Log) -> None:
    log.job("a")
    job = log.events[-1]["responseObject"]
    going = {"name": "a", "uid": "a", "deletionTimestamp": time_of(log.clock)}
    log.event("delete", JOBS, job | {"metadata": going | {"finalizers": ["example.com/wait"]}})
    assert log.rules() == ["unfinished"]
    log.event("patch", JOBS, job | {"metadata": going})
    assert log.rules() == []


def test_a_write_without_an_answer_shows_in_what_was_left(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.start("a")
    log.pod("pod-a-a1", "Succeeded", of="a")
    assert log.rules() == ["unfinished"]
    status = {"phase": "Succeeded", "sequence": 101, "attempt": 1, "queueName": "q", "finishedAt": time_of(log.clock),
              "conditions": [{"type": "Finished", "status": "True"}]}  # fmt: skip
    left = {"metadata": {"name": "a", "uid": "a", "namespace": "ns", "resourceVersion": "900"}, "status": status}
    verdict = judge(log.requests() + as_written(JOBS, [left]))
    assert verdict.violations == []
    assert verdict.phases == {"Succeeded": 1}


@pytest.mark.parametrize(("bound", "found"), [(10, []), (1, ["unfinished"])])
def test_after_the_faults_everything_finishes_within_the_bound(log: Log, bound: int, found: list[str]) -> None:
    log.job("a")
    ended = log.clock
    log.run("a")  # eight seconds, with the queue's first two writes
    assert log.rules(faults_ended=ended, finish_within_seconds=bound) == found


def test_the_bound_counts_from_the_submission_where_that_comes_after_the_faults(log: Log) -> None:
    log.clock += 100
    log.job("a")
    log.run("a")
    assert log.rules(faults_ended=START, finish_within_seconds=10) == []


@pytest.mark.parametrize(("released", "found"), [(True, []), (False, ["slot-kept"])])
def test_a_slot_is_released_within_the_bound(log: Log, released: bool, found: list[str]) -> None:
    log.job("a")
    log.take(("a", 1))
    log.start("a")
    log.succeed("a")
    log.clock += 30
    if released:
        log.release(("a", 1))
    log.event("update", "leases.coordination.k8s.io", {}, agent=OPERATOR)
    assert log.rules(faults_ended=START, finish_within_seconds=20) == found


@pytest.mark.parametrize(
    ("agent", "finished", "found"),
    [(OPERATOR, False, ["purged"]), (OPERATOR, True, []), (USER, False, []), (CONTROLLER, False, [])],
)
def test_the_operator_deletes_finished_jobs_only(log: Log, agent: str, finished: bool, found: list[str]) -> None:
    log.job("a")
    if finished:
        log.status("a", phase="Cancelled")
    log.delete("a", agent)
    assert log.rules() == found


@pytest.mark.parametrize(
    ("verb", "resource", "agent", "code", "found"),
    [
        ("update", "leases.coordination.k8s.io", OPERATOR, 200, []),
        ("create", "tokenreviews.authentication.k8s.io", OPERATOR, 201, []),
        ("get", JOBS, OPERATOR, 200, []),
        ("patch", f"{JOBS}/status", USER, 200, []),
        ("patch", f"{JOBS}/status", OPERATOR, 409, ["quiet"]),
        ("create", "events.events.k8s.io", OPERATOR, 201, ["quiet"]),
        ("create", "jobs.batch", f"{OPERATOR}-b", 409, ["quiet"]),
    ],
)
def test_in_a_steady_state_the_operator_writes_its_lease_and_nothing_else(
    log: Log, verb: str, resource: str, agent: str, code: int, found: list[str]
) -> None:
    log.job("a")
    log.status("a", phase="Cancelled")
    log.event(verb, resource, {"kind": "Status"}, code=code, agent=agent)
    assert log.rules(quiet_from=log.clock - 0.5) == found
    assert log.rules(quiet_from=log.clock + 0.5) == []
    assert log.rules() == []


def test_a_replay_that_nobody_acted_on_is_found(log: Log) -> None:
    log.job("a")
    log.take(("a", 1))
    log.start("a")
    log.fail("a", phase="Failed", retries=0)
    log.release(("a", 1))
    assert "unfinished" not in log.rules()
    log.change("a", replay=1)
    assert "unfinished" in log.rules()
    log.status("a", observedReplay=1)  # refused, as a draining queue does
    assert "unfinished" not in log.rules()
