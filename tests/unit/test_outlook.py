"""What the jobs of a queue can expect, from its slots and its history."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue, Priority
from klipstream_queueing.outlook import Basis, QueueOutlook

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
HUNDRED_SECONDS = "48"  # the bucket: 1.1 to the power of 48 is 97


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def job(
    name: str, priority: str = "NORMAL", sequence: int | None = 1, phase: str = "Queued", **more: Any
) -> AnalysisJob:
    status = {"phase": phase, "queueName": "q", "sequence": sequence} | more.pop("status", {})
    metadata = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "500"}
    spec = {"videoUrl": "https://e.x/a", "priority": priority} | more
    return AnalysisJob.from_wire({"metadata": metadata, "spec": spec, "status": status})


def view(
    *jobs: AnalysisJob, slots: int = 1, running: tuple[str, ...] = (), runs: int = 5, mode: str = "Running", **more: Any
) -> QueueOutlook:
    status: dict[str, Any] = {"admitted": [{"uid": name, "attempt": 1, "name": name} for name in running]}
    if runs:
        status["runTimes"] = [{"type": "", "buckets": {HUNDRED_SECONDS: runs}}]
    spec = {"workerTemplate": TEMPLATE, "maxConcurrentJobs": slots, "timeoutSeconds": 1000, "mode": mode} | more
    queue = AnalysisQueue.from_wire({"metadata": {"name": "q", "namespace": "ns"}, "spec": spec, "status": status})
    return QueueOutlook(queue, {each.uid: each for each in jobs}, NOW)


def running(name: str, since: float, **more: Any) -> AnalysisJob:
    return job(name, phase="Running", status={"attempt": 1, "startedAt": ago(since)} | more)


def test_those_that_wait_start_one_after_the_other_behind_what_runs() -> None:
    jobs = [running("r", 37), job("a", sequence=2), job("b", sequence=3)]
    seen = view(*jobs, running=("r",))
    left, first, second = (seen.of(each) for each in jobs)
    assert left is not None
    assert first is not None
    assert second is not None
    assert (left.position, first.position, second.position) == (None, 1, 2)
    assert left.finish_p50_seconds == pytest.approx(60, abs=1)
    assert first.start_p50_seconds == pytest.approx(60, abs=1)
    assert second.start_p50_seconds == pytest.approx(157, abs=2)
    assert seen.next_slot_seconds() == pytest.approx(60, abs=1)


def test_a_workers_own_estimate_counts_less_what_has_passed_since() -> None:
    progress = {"attempt": 1, "percentage": 50, "stage": "x", "estimatedCompletionSeconds": 30, "updatedAt": ago(10)}
    seen = view(running("r", 500, progress=progress), running=("r",))
    outlook = seen.of(seen.jobs["r"])
    assert outlook is not None
    assert outlook.finish_p50_seconds == pytest.approx(20)


def test_another_priority_is_another_place_and_leaves_the_others_alone() -> None:
    jobs = [job("u", "URGENT", 1), job("h", "HIGH", 2), job("n", "NORMAL", 3), job("l", "LOW", 4)]
    seen = view(*jobs)

    def place(name: str, priority: Priority) -> int | None:
        outlook = seen.at_priority(seen.jobs[name], priority)
        return outlook.position if outlook is not None else None

    assert [place("l", priority) for priority in Priority] == [2, 3, 4, 4]
    assert [place("u", priority) for priority in Priority] == [1, 1, 2, 3]
    assert [rank.uid for rank in seen.ahead_of(seen.jobs["n"])] == ["u", "h"]


def test_a_new_job_comes_after_all_of_its_priority() -> None:
    seen = view(job("a", "HIGH", 7), job("b", "NORMAL", 9))
    assert [seen.of_new(job("new", priority, None)).position for priority in ("URGENT", "HIGH", "NORMAL")] == [1, 2, 3]


@pytest.mark.parametrize(("runs", "basis"), [(0, Basis.TIMEOUT), (4, Basis.FEW_RUNS), (5, Basis.HISTORY)])
def test_it_is_said_what_an_estimate_rests_on(runs: int, basis: Basis) -> None:
    outlook = view(runs=runs).of_new(job("new"))
    assert (outlook.basis, outlook.runs) == (basis, runs)
    assert outlook.finish_p50_seconds == pytest.approx(1000 if not runs else 97, abs=1)


def test_nothing_is_promised_while_nothing_starts() -> None:
    for seen in (view(job("a"), mode="Paused"), view(job("a"), slots=0)):
        outlook = seen.of(seen.jobs["a"])
        assert outlook is not None
        assert (outlook.position, outlook.start_p50_seconds) == (1, None)


def test_who_is_not_due_or_being_cancelled_or_has_a_slot_stands_in_no_line() -> None:
    later = (NOW + timedelta(hours=1)).isoformat()
    jobs = [job("later", notBefore=later), job("cancelled", cancel=True), job("reserved"), job("a", sequence=9)]
    seen = view(*jobs, slots=2, running=("reserved",))
    assert [rank.uid for rank in seen.line] == ["a"]
    outlook = seen.of(jobs[0])
    assert outlook is not None
    assert outlook.position is None
    assert outlook.start_p50_seconds == pytest.approx(3600)
    assert seen.at_priority(jobs[0], Priority.URGENT) is None


def test_one_that_backs_off_starts_no_earlier_than_it_is_due() -> None:
    due = (NOW + timedelta(seconds=500)).isoformat()
    seen = view(job("b", phase="BackingOff", status={"attempt": 1, "nextAttemptAt": due}))
    outlook = seen.of(seen.jobs["b"])
    assert outlook is not None
    assert outlook.start_p50_seconds == pytest.approx(500)


def test_what_is_finished_expects_nothing() -> None:
    seen = view()
    assert seen.of(job("a", phase="Succeeded")) is None


def test_a_reserved_slot_is_free_for_those_it_is_reserved_for_alone() -> None:
    jobs = [running("r", 37), job("a", sequence=2), job("b", sequence=3)]
    seen = view(*jobs, slots=2, running=("r",), reservedSlots={"URGENT": 1})

    def start(name: str, priority: Priority) -> float | None:
        outlook = seen.at_priority(seen.jobs[name], priority)
        return outlook.start_p50_seconds if outlook is not None else None

    assert start("b", Priority.NORMAL) == pytest.approx(157, abs=2)
    assert start("b", Priority.HIGH) == pytest.approx(60, abs=1)
    assert start("b", Priority.URGENT) == 0.0
    assert seen.of_new(job("new", "URGENT", None)).start_p50_seconds == 0.0
    assert seen.of_new(job("new", "LOW", None)).start_p50_seconds == pytest.approx(254, abs=3)
    assert seen.next_slot_seconds() == pytest.approx(60, abs=1)
