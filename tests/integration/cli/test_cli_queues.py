"""Commands about queues and dead letters, with an operator that answers."""

import json
import uuid

import pytest
import yaml

from klipfake.world import World, job

FAILS = {"fake_exits": "1", "fake_message": '{"message": "codec 17 unknown", "error_code": "CodecUnknown"}'}
LATER = FAILS | {"fake_exits": "1,0"}


@pytest.fixture
def queue(stage: World) -> str:
    name = f"q-{uuid.uuid4().hex[:6]}"
    stage.queue(name, maxConcurrentJobs=2, maxRetries=0, retryDelaysSeconds=[1])
    stage.until(lambda: bool(stage.condition("aq", name, "Ready")), "an operator looked at it")
    return name


def test_pause_resume_and_config_change_what_kubectl_shows(stage: World, analysis, queue: str) -> None:
    assert f"{queue} is paused" in analysis.out("queue", "pause", queue)
    assert stage.get("aq", queue)["spec"]["mode"] == "Paused"
    analysis("queue", "resume", queue)
    assert stage.get("aq", queue)["spec"]["mode"] == "Running"
    analysis("queue", "config", queue, "--max-concurrent-jobs", "7", "--retry-delays", "5,10", "--stall-seconds", "60")
    spec = stage.get("aq", queue)["spec"]
    assert (spec["maxConcurrentJobs"], spec["retryDelaysSeconds"]) == (7, [5, 10])
    assert spec["stall"] == {"noProgressSeconds": 60}
    assert json.loads(analysis.out("queue", "config", queue, "-o", "json"))["maxConcurrentJobs"] == 7
    too_many = analysis("queue", "config", queue, "--max-concurrent-jobs", "5000", code=6).stderr
    assert "should be less than or equal to 1000" in too_many
    assert "write seconds between commas" in analysis("queue", "config", queue, "--retry-delays", "x", code=2).stderr
    assert "there is no analysisqueue nope" in analysis("queue", "pause", "nope", code=3).stderr


def test_a_queue_is_shown_with_its_line(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(job(f"{queue}-a", queueName=queue), job(f"{queue}-b", queueName=queue, priority="HIGH"))
    stage.until(lambda: stage.get("aq", queue)["status"].get("queued") == 2, "both wait")
    shown = analysis.out("queue", "status", queue)
    assert "0 of 2 taken" in shown
    assert shown.index(f"{queue}-b") < shown.index(f"{queue}-a"), "the higher priority comes first"
    listed = [line.split() for line in analysis.out("queue", "list", "-o", "wide").splitlines()]
    assert [queue, "Paused", "True", "0", "2", "2"] == next(row for row in listed if row[0] == queue)[:6]
    assert yaml.safe_load(analysis.out("queue", "status", queue, "-o", "yaml"))["metadata"]["name"] == queue


def test_drain_waits_until_nothing_is_left(stage: World, analysis, queue: str) -> None:
    stage.apply(job(f"{queue}-a", queueName=queue, params={"fake_seconds": "3"}))
    stage.until_phase(f"{queue}-a", "Starting", "Running")
    assert f"{queue} is drained." in analysis.out("queue", "drain", queue, "--wait", "--timeout", "3m")
    assert stage.phase(f"{queue}-a") == "Succeeded"


def test_clear_asks_first_and_tells_what_the_operator_did(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(*(job(f"{queue}-{n}", queueName=queue) for n in range(3)))
    stage.until(lambda: stage.get("aq", queue)["status"].get("queued") == 3, "all wait")
    assert "Nobody can be asked here" in analysis("queue", "clear", queue, code=6).stderr
    assert stage.get("aq", queue)["status"]["queued"] == 3
    assert "3 waiting jobs are cancelled" in analysis.out("queue", "clear", queue, "--yes")
    stage.until(lambda: not stage.get("aq", queue)["status"]["queued"], "nothing waits")
    assert "0 waiting jobs are cancelled" in analysis.out("queue", "clear", queue, "--yes"), "it can be asked again"


def test_clear_stuck_and_reconcile_are_acknowledged(analysis, queue: str) -> None:
    assert "0 attempts" in analysis.out("queue", "clear-stuck", queue)
    assert "Everything was read again" in analysis.out("queue", "reconcile", queue)


def test_without_an_operator_a_request_stands_and_that_is_said(alone, kubectl) -> None:
    template = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
    body = {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisQueue", "metadata": {"name": "only"},
            "spec": {"workerTemplate": template}}  # fmt: skip
    assert "there is no AnalysisQueue" in alone("queue", "reconcile", code=3).stderr
    kubectl("apply", "-n", alone.namespace, "-f", "-", stdin=json.dumps(body))
    answer = alone("queue", "reconcile", "--timeout", "2s", code=7).stderr
    assert "no operator answered within 2s" in answer
    done = alone("doctor", code=1).stdout
    assert "only was never looked at by an operator" in done


def test_a_group_of_dead_letters_is_replayed_with_a_canary(stage: World, analysis, queue: str) -> None:
    stage.apply(*(job(f"{queue}-{n}", queueName=queue, params=LATER) for n in range(3)))
    stage.until(lambda: stage.get("aq", queue)["status"].get("deadLettered") == 3, "all are dead letters")
    (group,) = json.loads(analysis.out("dlq", "groups", "-q", queue, "-o", "json"))
    assert (group["count"], group["reason"]) == (3, "CodecUnknown")
    assert len(analysis.out("dlq", "list", "-q", queue, "--no-headers").splitlines()) == 3
    shown = analysis.out("dlq", "show", group["fingerprint"])
    assert "3 dead letters failed alike" in shown
    assert "codec 17 unknown" in shown
    assert "codec 17 unknown" in analysis.out("dlq", "show", f"{queue}-0")
    replayed = analysis.out("dlq", "replay", group["fingerprint"], "--wait", "--timeout", "3m")
    assert "goes first" in replayed
    assert "Finished" in replayed
    stage.until(lambda: {stage.phase(f"{queue}-{n}") for n in range(3)} == {"Succeeded"}, "all succeed")


def test_a_canary_that_fails_again_is_exit_code_1_and_single_letters_run_by_name(stage, analysis, queue) -> None:
    stage.apply(*(job(f"{queue}-{n}", queueName=queue, params=FAILS) for n in range(2)))
    stage.until(lambda: stage.get("aq", queue)["status"].get("deadLettered") == 2, "both are dead letters")
    (group,) = json.loads(analysis.out("dlq", "groups", "-q", queue, "-o", "json"))
    assert "failed again" in analysis.out("dlq", "replay", group["fingerprint"], "--wait", code=1)
    assert f"{queue}-1 runs again" in analysis.out("dlq", "replay", f"{queue}-1")
    assert "no dead letter and no group" in analysis("dlq", "show", "nothing", code=3).stderr


def test_the_report_counts_what_ended_and_its_page_needs_nothing_else(stage: World, analysis, queue, tmp_path) -> None:
    stage.apply(job(f"{queue}-a", queueName=queue), job(f"{queue}-b", queueName=queue, params=FAILS))
    stage.until(lambda: stage.phase(f"{queue}-a") == "Succeeded" and stage.phase(f"{queue}-b") == "Failed", "both end")
    page = tmp_path / "report.html"
    figures = json.loads(analysis.out("report", "-q", queue, "--since", "1h", "--html", str(page), "-o", "json"))
    assert figures["ended"] == {"Succeeded": 1, "Failed": 1}
    assert figures["success_percent"] == 50
    assert figures["failures"] == {"Transient: CodecUnknown": 1}
    assert sum(good + bad for _, good, bad in figures["bins"]) == 2
    html = page.read_text()
    assert "50.0 %" in html
    assert not [mark for mark in ("http:", "https:", "src=", "<script", "@import") if mark in html]
    assert "Success rate  50.0 %" in analysis.out("report", "-q", queue)


def test_doctor_finds_a_healthy_stage_healthy(analysis, queue: str) -> None:
    found = json.loads(analysis.out("doctor", "-o", "json"))
    states = {each["check"]: each["state"] for each in found}
    assert {states[check] for check in ("API server", "CRDs", "Rights", "Leader", "Acceptance")} == {"ok"}
    assert "failed" not in states.values()


def test_completion_through_kubectl_names_commands_flags_jobs_and_queues(stage: World, analysis, queue: str) -> None:
    stage.change("aq", queue, mode="Paused")
    stage.apply(job(f"{queue}-a", queueName=queue))

    def complete(*words: str) -> list[str]:
        import subprocess

        done = subprocess.run(["kubectl", "__complete", "analysis", *words], env=analysis.environment,
                              capture_output=True, text=True, check=True, timeout=120)  # fmt: skip
        return [line.split("\t")[0] for line in done.stdout.splitlines()]

    here = ("-n", stage.namespace)
    assert complete("que") == ["queue", ":4"]
    assert complete("queue", "cl") == ["clear", "clear-stuck", ":4"]
    assert complete("status", *here, queue) == [f"{queue}-a", ":4"]
    assert complete("queue", "pause", *here, queue) == [queue, ":4"]
    assert complete("list", "--ph") == ["--phase", ":4"]
    assert complete("submit", "--priority", "U") == ["URGENT", ":4"]
    assert complete("lint", "") == [":0"], "files"
    assert complete("status", "--kubeconfig", "/nowhere", "") == [":4"], "silent where nobody answers"
