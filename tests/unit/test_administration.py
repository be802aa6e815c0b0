"""What administrative requests come to: counted from what the operator knows, and answered once."""

from datetime import timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, job, kube_job, pod, queue, running
from klipstream_api import AnalysisJob, AnalysisQueue, OperationName, Progress
from klipstream_operator.administration import answer
from klipstream_operator.store import Store

KEY = ("n", "q")
LONG_AGO = (NOW - timedelta(hours=1)).isoformat()


def asked(of: AnalysisQueue, **annotations: str) -> AnalysisQueue:
    wire = {f"analysis.klipstream.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"annotations": wire})})


def named(uid: str, of: AnalysisJob) -> AnalysisJob:
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"uid": uid, "name": f"job-{uid}"})})


def knowing(of: AnalysisQueue, *jobs: AnalysisJob) -> Store:
    store = Store(lambda _: None, lambda _: None, lambda: None)
    store.put_queue(of, NOW)
    for each in jobs:
        store.put_job(each, NOW)
    return store


def outcome(name: OperationName, of: AnalysisQueue, store: Store, repaired: int | None = None) -> tuple[int, bool]:
    outcomes = answer(of, store, repaired, NOW).outcomes
    assert set(outcomes) == {name}
    assert outcomes[name].message
    return outcomes[name].count, outcomes[name].refused


def test_nothing_is_answered_that_was_not_asked() -> None:
    assert answer(queue(), knowing(queue()), 3, NOW).outcomes == {}
    assert answer(queue(), knowing(queue()), 3, NOW).replay is None


def test_clear_counts_those_that_wait_without_a_slot() -> None:
    of = asked(queue({"admitted": [{"uid": "u4", "attempt": 1, "name": "job-u4"}]}), clear="q")
    store = knowing(
        of, named("u1", job()), named("u2", job(running("BackingOff"))), named("u3", job(running())),
        named("u4", job()), named("u5", job({"queueName": "other"})),
    )  # fmt: skip
    assert outcome(OperationName.CLEAR, of, store) == (2, False)


def test_clear_without_its_confirmation_is_refused() -> None:
    of = asked(queue(), clear="yes")
    assert outcome(OperationName.CLEAR, of, knowing(of, job())) == (0, True)


OLD = {"startedAt": LONG_AGO}
FRESH = Progress(attempt=1, percentage=1, stage="s", updated_at=NOW)


@pytest.mark.parametrize(
    ("rule", "of_job", "posted", "running_since", "count"),
    [
        ("no sign for an hour", job(running(**OLD)), None, None, 1),
        ("also while it starts", job(running("Starting", **OLD)), None, None, 1),
        ("progress that is not written yet is one", job(running(**OLD)), FRESH, None, 0),
        ("so is a container that began", job(running(**OLD)), None, NOW, 0),
        ("what waits is not stuck", job(OLD), None, None, 0),
        ("what is over neither", job({"phase": "Failed", "attempt": 1} | OLD), None, None, 0),
        ("nor what is another queue's", job(running(**OLD, queueName="other")), None, None, 0),
        (
            "by the queue's own measure",
            job(running(startedAt=(NOW - timedelta(seconds=70)).isoformat())),
            None,
            None,
            1,
        ),
    ],
)
def test_clear_stuck_counts_attempts_without_any_sign(
    rule: str, of_job: AnalysisJob, posted: Any, running_since: Any, count: int
) -> None:
    of = asked(queue(stall={"noProgressSeconds": 60}), clear_stuck="1")
    store = knowing(of, of_job)
    store.put_workload(kube_job())
    store.put_workload(pod(running_since=running_since))
    if posted is not None:
        store.progress[of_job.uid] = posted
    assert outcome(OperationName.CLEAR_STUCK, of, store) == (count, False), rule


def test_reconcile_stays_open_until_a_sweep_has_run_for_it() -> None:
    of = asked(queue(), reconcile="1")
    assert answer(of, knowing(of), None, NOW).outcomes == {}
    assert outcome(OperationName.RECONCILE, of, knowing(of), 0) == (0, False)
    assert outcome(OperationName.RECONCILE, of, knowing(of), 7) == (7, False)


def test_a_restart_is_acknowledged_before_it_happens() -> None:
    of = asked(queue(), restart="1")
    assert outcome(OperationName.RESTART, of, knowing(of)) == (1, False)


def test_a_replay_of_a_group_begins_with_its_canary() -> None:
    of = asked(queue(), replay="f")
    dead = {"phase": "Failed", "attempt": 1, "failureFingerprint": "f",
            "conditions": [{"type": "DeadLettered", "status": "True"}]}  # fmt: skip
    store = knowing(of, named("u1", job(dead | {"sequence": 3})), named("u2", job(dead | {"sequence": 2})))
    answered = answer(of, store, None, NOW)
    assert answered.replay is not None
    assert (answered.replay.canary_uid, answered.replay.requested_at) == ("u2", NOW)
    assert outcome(OperationName.REPLAY, of, store) == (2, False)
    assert outcome(OperationName.REPLAY, asked(queue(), replay="unknown"), store) == (0, True)


def test_several_requests_are_answered_together() -> None:
    of = asked(queue(), restart="1", reconcile="1", clear="q")
    assert set(answer(of, knowing(of), 1, NOW).outcomes) == {
        OperationName.RESTART, OperationName.RECONCILE, OperationName.CLEAR,
    }  # fmt: skip
