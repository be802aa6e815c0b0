"""The judge finds each kind of broken promise in a small audit log that holds it, and nothing in a good one."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from klipbench.figures import refill_seconds, requests_by_agent, throughput
from klipjudge.audit import read_requests
from klipjudge.history import as_written
from klipjudge.judge import Verdict, judge

GROUP = "analysis.klipstream.io"
START = 1_800_000_000.0


class Log:
    """An audit log written by hand: every write gets the next revision and one second later than the last."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.revision = 100
        self.clock = START

    def event(self, verb: str, resource: str, answer: dict[str, Any], *, code: int = 200, agent: str = "x/1") -> None:
        self.revision += 1
        self.clock += 1
        resource, _, subresource = resource.partition("/")
        resource, _, group = resource.partition(".")
        answer = {"metadata": {}} | answer
        if answer.get("kind") != "Status":
            answer["metadata"] = {"resourceVersion": str(self.revision)} | answer["metadata"]
        self.events.append(
            {
                "stage": "ResponseComplete",
                "requestURI": "/",
                "verb": verb,
                "userAgent": agent,
                "objectRef": {
                    "resource": resource,
                    "subresource": subresource,
                    "apiGroup": group,
                    "namespace": "ns",
                    "name": answer["metadata"].get("name", ""),
                },
                "responseStatus": {"code": code},
                "responseObject": answer,
                "requestReceivedTimestamp": _time(self.clock),
                "stageTimestamp": _time(self.clock + 0.01),
            }
        )

    def queue(self, *admitted: tuple[str, int], limit: int = 1) -> None:
        entries = [{"uid": uid, "attempt": attempt, "name": uid} for uid, attempt in admitted]
        metadata = {"name": "q"}
        body = {"metadata": metadata, "spec": {"maxConcurrentJobs": limit}, "status": {"admitted": entries}}
        self.event("patch", f"analysisqueues.{GROUP}/status", body)

    def job(
        self, uid: str, sequence: int | None, *, priority: str = "NORMAL", phase: str = "Queued", **spec: Any
    ) -> None:
        status = {"phase": phase, "queueName": "q"} | ({"sequence": sequence} if sequence is not None else {})
        metadata = {"name": uid, "uid": uid}
        body = {"metadata": metadata, "spec": {"priority": priority} | spec, "status": status}
        self.event("patch", f"analysisjobs.{GROUP}/status", body)

    def batch_job(self, uid: str, attempt: int, job_uid: str, *, suspend: bool = False) -> None:
        metadata = {"name": f"{uid}-a{attempt}", "uid": job_uid, "labels": _labels(uid, attempt)}
        self.event("create", "jobs.batch", {"metadata": metadata, "spec": {"suspend": suspend}}, code=201)

    def pod(self, uid: str, phase: str, *, of: str, attempt: int = 1, verb: str = "patch", **metadata: Any) -> None:
        described = {"name": uid, "uid": uid, "labels": _labels(of, attempt)} | metadata
        resource = "pods/status" if verb == "patch" else "pods"
        self.event(verb, resource, {"metadata": described, "status": {"phase": phase}})

    def run(self, uid: str, *, pod: str | None = None) -> None:
        """A job from its Job to its success."""
        pod = pod or f"pod-{uid}"
        self.batch_job(uid, 1, f"job-{uid}")
        self.pod(pod, "Pending", of=uid, verb="create")
        self.pod(pod, "Running", of=uid)
        self.pod(pod, "Succeeded", of=uid)
        self.job(uid, 1, phase="Succeeded")

    def write(self, folder: Path) -> Path:
        file = folder / "audit.log"
        file.write_text("".join(json.dumps(event) + "\n" for event in self.events))
        return file

    def judged(self, folder: Path) -> Verdict:
        return judge(read_requests(self.write(folder)))


@pytest.fixture
def log() -> Log:
    return Log()


def rules(verdict: Verdict) -> list[str]:
    return [violation.rule for violation in verdict.violations]


def test_a_run_in_order_breaks_no_rule(log: Log, tmp_path: Path) -> None:
    log.queue()
    log.job("a", 1)
    log.job("b", 2, priority="HIGH")
    log.queue(("b", 1))
    log.run("b")
    log.queue(("a", 1))
    log.run("a")
    log.queue()
    verdict = log.judged(tmp_path)
    assert verdict.violations == []
    assert (verdict.jobs, verdict.most_live, verdict.reservations) == (2, 1, 2)
    assert verdict.phases == {"Succeeded": 2}


def test_more_live_pods_than_the_limit_are_found(log: Log, tmp_path: Path) -> None:
    log.queue(limit=1)
    log.pod("p1", "Pending", of="a", verb="create")
    log.pod("p2", "Pending", of="b", verb="create")
    verdict = log.judged(tmp_path)
    assert rules(verdict) == ["limit"]
    assert verdict.most_live == 2


def test_a_lowered_limit_stops_no_running_pod(log: Log, tmp_path: Path) -> None:
    log.queue(limit=2)
    log.pod("p1", "Pending", of="a", verb="create")
    log.queue(limit=1)
    log.pod("p2", "Pending", of="b", verb="create")
    assert log.judged(tmp_path).violations == []


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
def test_a_pod_is_live_until_it_ended_or_is_gone(log: Log, tmp_path: Path, written: dict[str, Any], live: bool) -> None:
    log.queue(limit=1)
    log.pod("p1", "Pending", of="a", verb="create")
    log.pod("p1", of="a", **written)
    log.pod("p2", "Pending", of="b", verb="create")
    assert rules(log.judged(tmp_path)) == (["limit"] if live else [])


def test_two_live_pods_of_one_analysis_are_found(log: Log, tmp_path: Path) -> None:
    log.queue(limit=5)
    log.pod("p1", "Running", of="a", attempt=1, verb="create")
    log.pod("p2", "Running", of="a", attempt=2, verb="create")
    assert rules(log.judged(tmp_path)) == ["one-pod"]


def test_a_second_job_of_an_attempt_is_found(log: Log, tmp_path: Path) -> None:
    log.queue()
    log.job("a", 1)
    log.queue(("a", 1))
    log.batch_job("a", 1, "first")
    log.batch_job("a", 1, "second")
    log.job("a", 1, phase="Succeeded")
    assert rules(log.judged(tmp_path)) == ["one-job"]


def test_a_job_without_a_reservation_is_found_unless_it_is_suspended(log: Log, tmp_path: Path) -> None:
    log.queue()
    log.batch_job("a", 1, "occupies the name", suspend=True)
    log.batch_job("b", 1, "runs")
    log.queue(("b", 1))  # too late
    assert rules(log.judged(tmp_path)) == ["reserved-first", "accepted-first"]


def test_more_reservations_than_the_limit_are_found(log: Log, tmp_path: Path) -> None:
    log.queue(limit=1)
    log.job("a", 1, phase="Queued")
    log.job("b", 2, phase="Queued")
    log.queue(("a", 1), ("b", 1), limit=1)
    verdict = log.judged(tmp_path)
    assert verdict.count("overcommit") == 1
    assert verdict.count("unfinished") == 2


def test_a_lowered_limit_releases_no_reservation(log: Log, tmp_path: Path) -> None:
    log.job("a", 1)
    log.job("b", 2)
    log.queue(("a", 1), ("b", 1), limit=2)
    log.queue(("a", 1), ("b", 1), limit=1)
    log.queue(("a", 1), limit=1)
    assert log.judged(tmp_path).count("overcommit") == 0


def test_an_attempt_that_is_reserved_twice_is_found(log: Log, tmp_path: Path) -> None:
    log.job("a", 1)
    log.queue(("a", 1), ("a", 1), limit=2)
    assert log.judged(tmp_path).count("one-reservation") == 1


@pytest.mark.parametrize("better", [{"sequence": 9, "priority": "URGENT"}, {"sequence": 1}])
def test_a_job_taken_before_one_that_comes_first_is_found(log: Log, tmp_path: Path, better: dict[str, Any]) -> None:
    log.job("worse", 5)
    log.job("better", **better)
    log.queue(("worse", 1))
    verdict = log.judged(tmp_path)
    assert [v.message for v in verdict.violations if v.rule == "inversion"] == [
        "ns/worse was taken while ns/better came first "
        "(its last write was answered 990.0 ms before the reservation came in)"
    ]


@pytest.mark.parametrize(
    "waiting",
    [
        {"sequence": None},
        {"phase": "BackingOff"},
        {"phase": "Succeeded"},
        {"cancel": True},
        {"notBefore": "2100-01-01T00:00:00Z"},
        {"priority": "LOW"},
    ],
)
def test_who_cannot_be_taken_or_comes_later_is_not_passed_over(
    log: Log, tmp_path: Path, waiting: dict[str, Any]
) -> None:
    described: dict[str, Any] = {"sequence": 1, "priority": "URGENT"}
    log.job("other", **described | waiting)
    log.job("taken", 5)
    log.queue(("taken", 1))
    assert log.judged(tmp_path).count("inversion") == 0


def test_an_acceptance_after_the_reservation_is_no_inversion(log: Log, tmp_path: Path) -> None:
    log.job("taken", 5)
    log.queue(("taken", 1))
    log.job("late", 1, priority="URGENT")
    assert log.judged(tmp_path).count("inversion") == 0


def test_order_is_the_stores_and_not_the_logs(log: Log, tmp_path: Path) -> None:
    log.job("taken", 5)
    log.job("first", 1)
    log.queue(("taken", 1))
    log.events.reverse()
    assert log.judged(tmp_path).count("inversion") == 1


def test_a_holder_of_a_slot_is_not_passed_over(log: Log, tmp_path: Path) -> None:
    log.job("a", 1)
    log.job("b", 2)
    log.queue(("a", 1), limit=2)
    log.queue(("a", 1), ("b", 1), limit=2)
    assert log.judged(tmp_path).count("inversion") == 0


@pytest.mark.parametrize(("waited_seconds", "found"), [(0, 0), (5, 1)])
def test_a_patched_priority_counts_once_it_can_be_known(
    log: Log, tmp_path: Path, waited_seconds: int, found: int
) -> None:
    log.job("a", 1)
    log.job("b", 2)
    log.job("b", 2, priority="URGENT")
    log.clock += waited_seconds - 0.5
    log.queue(("a", 1))
    assert log.judged(tmp_path).count("inversion") == found


def test_a_job_that_is_never_finished_is_found(log: Log, tmp_path: Path) -> None:
    log.job("a", 1, phase="Running")
    assert rules(log.judged(tmp_path)) == ["unfinished"]


def test_a_deleted_job_is_missed_by_nobody(log: Log, tmp_path: Path) -> None:
    log.job("a", 1)
    log.event("delete", f"analysisjobs.{GROUP}", {"kind": "Status", "metadata": {"name": "a"}})
    assert log.judged(tmp_path).violations == []


def test_refused_writes_change_nothing(log: Log, tmp_path: Path) -> None:
    log.job("a", 1, phase="Succeeded")
    log.event("patch", f"analysisjobs.{GROUP}/status", {"metadata": {"name": "a", "uid": "a"}}, code=409)
    verdict = log.judged(tmp_path)
    assert verdict.violations == []
    counts = requests_by_agent(read_requests(tmp_path / "audit.log"))["x"]
    assert counts == {f"patch analysisjobs.{GROUP}/status": 1, f"patch analysisjobs.{GROUP}/status (409)": 1}


def test_a_write_without_an_answer_shows_in_what_was_left(log: Log, tmp_path: Path) -> None:
    log.job("a", 1, phase="Running")
    left = {"metadata": {"name": "a", "uid": "a", "namespace": "ns", "resourceVersion": "900"}, "spec": {}}
    written = as_written(f"analysisjobs.{GROUP}", [left | {"status": {"phase": "Succeeded", "sequence": 1}}])
    verdict = judge(read_requests(log.write(tmp_path)) + written)
    assert verdict.violations == []
    assert verdict.phases == {"Succeeded": 1}


@pytest.mark.parametrize(("code", "found"), [(0, []), (504, []), (409, ["reserved-first"])])
def test_a_reservation_whose_writer_was_killed_may_have_happened(
    log: Log, tmp_path: Path, code: int, found: list[str]
) -> None:
    log.job("a", 1)
    log.queue(("a", 1))
    log.events[-1] |= {
        "requestObject": log.events[-1]["responseObject"], "responseObject": {"kind": "Status"},
        "responseStatus": {"code": code},
    }  # fmt: skip
    log.batch_job("a", 1, "j1")
    log.queue(("a", 1))
    log.pod("p1", "Running", of="a")
    log.pod("p1", "Succeeded", of="a")
    log.job("a", 1, phase="Succeeded")
    assert rules(log.judged(tmp_path)) == found


def test_a_half_written_last_line_is_left_out(log: Log, tmp_path: Path) -> None:
    log.job("a", 1, phase="Succeeded")
    file = log.write(tmp_path)
    with file.open("a") as tail:
        tail.write('{"stage": "Respon')
    assert len(read_requests(file)) == 1


def test_figures_come_from_the_pods_own_times(log: Log, tmp_path: Path) -> None:
    log.run("a")  # Job at 1 s, running at 3 s, ended at 4 s, status at 5 s
    log.run("b")  # Job at 6 s, running at 8 s, ended at 9 s
    figures = throughput(read_requests(log.write(tmp_path)), limit=1)
    assert figures.makespan_seconds == pytest.approx(8)
    assert figures.jobs_per_second == pytest.approx(2 / 8)
    assert figures.utilisation == pytest.approx(2 / 8)
    assert figures.refill_p50_seconds == pytest.approx(2)


def test_the_slot_that_is_free_longest_is_refilled_first() -> None:
    assert refill_seconds([0, 0, 5, 9, 9.5], [4, 6, 9.2], limit=2) == pytest.approx([1, 3, 0.3])


def _labels(uid: str, attempt: int) -> dict[str, str]:
    return {f"{GROUP}/job-uid": uid, f"{GROUP}/attempt": str(attempt), f"{GROUP}/queue": "q"}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
