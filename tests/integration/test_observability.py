"""What Prometheus scrapes, what `kubectl get events` shows and what the log says, of a real operator at work."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipfake.processes import Operator, Process
from klipfake.scrape import Scrape
from klipfake.world import World

Start = Callable[..., World]


@pytest.fixture
def start(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the operator, with settings of the test's own and JSON logs, and the fake kubelet."""
    processes: list[Process] = []

    def begin(**environment: str) -> World:
        settings = {"KLIPSTREAM_LOG_FORMAT": "json", "KLIPSTREAM_IDENTITY": "first"} | environment
        operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace, **settings)
        kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
        processes.extend((operator, kubelet))
        for process in (operator, kubelet):
            process.start()
        return World(kubectl, namespace, operator)

    yield begin
    for process in processes:
        process.kill()


@pytest.fixture
def world(start: Start) -> World:
    return start()


def scrape(world: World) -> Scrape:
    return Scrape(world.operator.metrics_port)


def events(world: World, kind: str, name: str) -> list[tuple[str, str]]:
    """(type, reason) of an object's events, in the order in which kubectl lists them."""
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    found = json.loads(world.kubectl("get", "events", "--field-selector", selector, "-o", "json"))["items"]
    return [(item["type"], item["reason"]) for item in found]


def until_written(world: World, count: int) -> None:
    """Events go out in the background."""
    world.until(lambda: scrape(world)("operator_events_total", result="written") >= count, f"{count} events")


def patch(world: World, name: str, spec: dict[str, Any]) -> None:
    world.kubectl("patch", *name.split("/"), "--type=merge", "-p", json.dumps({"spec": spec}))


def test_success_retry_dead_letter_cancel_and_refusal_are_counted_and_announced(world: World) -> None:
    world.queue(maxConcurrentJobs=2, maxRetries=1, retryDelaysSeconds=[1], mode="Paused", maxQueueSize=5)
    world.job("good", priority="HIGH", type="vod")
    world.job("flaky", params={"fake_exits": "1,0"})
    world.job("bad", params={"fake_exits": "1", "fake_message": '{"message": "no luck", "error_code": "Unlucky"}'})
    world.job("unwanted", priority="LOW")
    world.job("waits", priority="LOW")
    world.until(lambda: all(item["status"].get("sequence") for item in world.items("aj")), "all are accepted")
    world.job("refused")
    world.until_phase("refused", "Rejected")
    shown = scrape(world)
    assert {p: shown("queue_depth", priority=p) for p in ("URGENT", "HIGH", "NORMAL", "LOW")} == {
        "URGENT": 0, "HIGH": 1, "NORMAL": 2, "LOW": 2,
    }  # fmt: skip
    assert shown("queue_mode", mode="Paused") == 1
    assert shown("queue_fill_ratio") == 1.0
    for name in ("unwanted", "waits"):
        patch(world, f"aj/{name}", {"cancel": True})
        world.until_phase(name, "Cancelled")
    patch(world, "aq/default", {"mode": "Running"})
    world.until(
        lambda: {"good": "Succeeded", "flaky": "Succeeded", "bad": "Failed"}.items() <= world.phases().items(),
        "all are finished",
    )
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "all slots are free")

    shown = scrape(world)
    assert shown("jobs_accepted_total") == 5
    assert shown("jobs_accepted_total", priority="HIGH") == 1
    assert shown("jobs_rejected_total") == shown("jobs_rejected_total", reason="QueueFull") == 1
    finished = {phase: shown("jobs_finished_total", phase=phase) for phase in ("Succeeded", "Failed", "Cancelled")}
    assert finished == {"Succeeded": 2, "Failed": 1, "Cancelled": 2}
    assert shown("attempts_ended_total", outcome="Succeeded") == 2
    assert shown("attempts_ended_total", outcome="Transient") == 3
    assert shown("attempts_ended_total") == 5
    assert shown("attempts_retried_total") == shown("attempts_retried_total", failure_class="Transient") == 2
    assert shown("job_wait_seconds_count") == 5
    assert shown("job_wait_seconds_count", priority="HIGH") == 1
    assert shown("attempt_run_seconds_count", outcome="Succeeded", type="vod") == 1
    assert shown("attempt_run_seconds_count", outcome="Failed", type="") == 3
    attempts = [entry for item in world.items("aj") for entry in item["status"].get("attempts", [])]
    assert shown("attempt_run_seconds_sum") == pytest.approx(sum(map(seconds, attempts)), abs=0.01)
    assert shown("queue_dead_letters") == 1
    assert shown("queue_depth") == shown("queue_reservations") == 0
    assert shown("operator_leading") == 1
    assert 0 < time.time() - shown("operator_leading_since_timestamp_seconds") < 120
    assert shown("operator_sweep_repairs_total") == 0
    assert shown("operator_reconcile_errors_total") == 0
    assert 0 <= shown("operator_lease_renewal_age_seconds") < 15
    assert shown("operator_cache_lists_total", resource="analysisjobs.analysis.klipstream.io") == 1
    # The worker template is tried by a dry run once for each generation of the queue.
    checks = world.get("aq", "default")["metadata"]["generation"]
    assert shown("operator_api_requests_total", verb="create", resource="jobs.batch", status="201") == 5 + checks
    assert shown("operator_api_request_seconds_count", verb="create", resource="jobs.batch") == 5 + checks
    totals = world.get("aq", "default")["status"]["totals"]
    assert (totals["succeeded"], totals["failed"], totals["retried"]) == (2, 1, 2), "as in status.totals"

    until_written(world, 3 + 6 + 6 + 2 + 2 + 1)
    assert events(world, "AnalysisJob", "good") == [("Normal", r) for r in ("Accepted", "Started", "Succeeded")]
    assert [reason for _, reason in events(world, "AnalysisJob", "flaky")] == [
        "Accepted", "Started", "Retrying", "RetryDue", "Started", "Succeeded",
    ]  # fmt: skip
    assert events(world, "AnalysisJob", "bad")[-1] == ("Warning", "DeadLettered")
    assert events(world, "AnalysisJob", "unwanted") == [("Normal", "Accepted"), ("Normal", "Cancelled")]
    assert events(world, "AnalysisJob", "refused") == [("Warning", "Rejected")]
    described = world.kubectl("describe", "aj", "bad")
    table = described[described.index("Events:") :]
    assert "Retrying" in table
    assert "Attempt 1 failed (Transient, Unlucky): no luck" in table
    assert "klipstream-operator" in table


def seconds(attempt: dict[str, Any]) -> float:
    """Run time of an attempt by its status; its times are on one day, of this test."""
    began, ended = (attempt[key].split("T")[1].rstrip("Z").split(":") for key in ("startedAt", "finishedAt"))
    return sum((float(b) - float(a)) * unit for a, b, unit in zip(began, ended, (3600, 60, 1), strict=True)) % 86_400


def test_a_queue_announces_its_turns_and_what_administrators_asked(world: World) -> None:
    world.queue(maxQueueSize=1, mode="Paused")
    world.job("waits")
    world.kubectl("wait", "aq/default", "--for=condition=Full", "--timeout=30s")
    clear = "analysis.klipstream.io/clear"
    world.kubectl("annotate", "aq", "default", f"{clear}=no")
    world.until(lambda: len(world.get("aq", "default")["status"].get("operations", [])) == 1, "the refusal")
    world.kubectl("annotate", "aq", "default", "--overwrite", f"{clear}=default")
    world.until_phase("waits", "Cancelled")
    patch(world, "aq/default", {"mode": "Draining"})
    world.kubectl("wait", "aq/default", "--for=condition=Drained", "--timeout=30s")
    patch(world, "aq/default", {"mode": "Running"})
    expected = Counter({("Warning", "Full"): 1, ("Normal", "HasRoom"): 1, ("Normal", "Clear"): 2,
                        ("Normal", "Draining"): 1, ("Normal", "Drained"): 1, ("Normal", "Running"): 1})  # fmt: skip
    world.until(lambda: Counter(events(world, "AnalysisQueue", "default")) >= expected, "all are announced")
    assert Counter(events(world, "AnalysisQueue", "default")) == expected
    assert "Clear" in world.kubectl("describe", "aq", "default").split("Events:")[1]
    assert events(world, "AnalysisJob", "waits")[-1] == ("Warning", "Cleared")


def test_a_restart_that_was_asked_for_is_announced_before_the_memory_is_gone(world: World) -> None:
    world.queue()
    world.until(lambda: bool(world.get("aq", "default")["status"].get("initialized")), "the queue is served")
    world.kubectl("annotate", "aq", "default", "analysis.klipstream.io/restart=1")
    world.until(lambda: ("Normal", "Restart") in events(world, "AnalysisQueue", "default"), "it is announced")


def test_nothing_is_written_while_nothing_changes(start: Start) -> None:
    world = start(KLIPSTREAM_SWEEP_SECONDS="3")
    world.queue(maxConcurrentJobs=1)
    world.job("runs", params={"fake_seconds": "300"})
    world.job("waits")
    world.until_phase("runs", "Running")
    until_written(world, 4)
    time.sleep(3)  # the last counters of the queue

    def writes() -> dict[tuple[str, str], float]:
        found = {}
        for sample in scrape(world).samples:
            labels = sample.labels
            written = sample.name == "klipstream_operator_api_requests_total" and labels["verb"] in ("create", "patch")
            if written and labels["resource"] != "leases.coordination.k8s.io":
                found[labels["verb"], labels["resource"]] = sample.value
        return found

    for _ in range(3):  # on a busy machine the last counters may come later
        before, seen = writes(), len(world.items("events"))
        swept = scrape(world)("operator_api_requests_total", verb="list", resource="jobs.batch")
        time.sleep(7)
        if writes() == before:
            break
    assert writes() == before
    assert len(world.items("events")) == seen
    assert scrape(world)("operator_api_requests_total", verb="list", resource="jobs.batch") > swept, "a sweep passed"
    assert scrape(world)("operator_sweep_repairs_total") == 0


def test_events_can_be_switched_off(start: Start) -> None:
    world = start(KLIPSTREAM_EVENTS="off")
    world.queue(maxRetries=0)
    world.job("good")
    world.job("bad", params={"fake_exits": "1"})
    world.until(lambda: world.phases() == {"good": "Succeeded", "bad": "Failed"}, "both are finished")
    patch(world, "aq/default", {"mode": "Paused"})
    world.until(lambda: scrape(world)("queue_mode", mode="Paused") == 1, "the mode is seen")
    time.sleep(1)
    assert scrape(world)("operator_events_total") == 0
    assert not [item for item in world.items("events") if item["involvedObject"]["kind"].startswith("Analysis")]


def test_a_standby_shows_that_it_does_not_lead_and_no_queue(world: World, control_plane, tmp_path: Path) -> None:
    world.queue()
    world.job("good")
    world.until_phase("good", "Succeeded")
    settings = {"KLIPSTREAM_IDENTITY": "standby"}
    standby = Operator(control_plane.kubeconfig, tmp_path / "standby.log", world.namespace, **settings)
    standby.start()
    try:
        world.until(lambda: standby.ready, "the standby is ready")
        shown = Scrape(standby.metrics_port)
        assert shown("operator_leading") == shown("operator_leading_since_timestamp_seconds") == 0
        assert not [sample for sample in shown.samples if sample.name.startswith("klipstream_queue_")]
        world.operator.kill()
        world.until(lambda: Scrape(standby.metrics_port)("operator_leading") == 1, "it takes over")
        assert Scrape(standby.metrics_port)("queue_max_concurrent_jobs") == 3
    finally:
        standby.kill()


def test_every_line_of_the_log_is_json_and_those_about_a_job_carry_its_fields(world: World) -> None:
    world.queue(maxRetries=1, retryDelaysSeconds=[0])
    world.job("flaky", params={"fake_exits": "1,0"})
    world.until_phase("flaky", "Succeeded")
    world.operator.stop()
    lines = [json.loads(line) for line in world.operator.said().splitlines()]
    assert {"message", "timestamp", "severity"} <= set.intersection(*(set(line) for line in lines))
    about = [line for line in lines if line.get("job") == f"{world.namespace}/flaky"]
    uid = world.get("aj", "flaky")["metadata"]["uid"]
    assert {(line["uid"], line["queue"], line["namespace"]) for line in about} == {(uid, "default", world.namespace)}
    assert [line["attempt"] for line in about] == [1, 1, 2, 2]
    assert not [line for line in lines if "AnalysisJob " in line["message"] and line not in about]
    assert [line for line in lines if line.get("queue") == "default" and "job" not in line], "lines about the queue"
