"""What Convex shows of jobs and queues, case by case."""

import json
from typing import Any

import pytest

from klipfake.objects import NOW, UID, job, queue, running
from klipstream_api import AnalysisJob
from klipstream_convex.requests import Refusal, job_of, next_replay
from klipstream_convex.restore import manifest_of
from klipstream_convex.rows import digest, job_row, progress_row, queue_row
from klipstream_convex.settings import Settings
from klipstream_convex.shadow import Shadow, Update, update_of
from klipstream_service import BadSetting

OBJECT: dict[str, Any] = {
    "metadata": {
        "name": "a", "namespace": "n", "uid": UID, "resourceVersion": "9", "creationTimestamp": "2026-01-02T03:00:00Z",
        "labels": {"team": "x"},
        "annotations": {"note": "y", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    },
    "spec": {"videoUrl": "https://example.com/v.mp4", "priority": "HIGH", "params": {"a": "b"}, "replay": 2},
    "status": {"phase": "Queued", "sequence": 7, "queueName": "q", "queuedAt": "2026-01-02T03:00:01Z"},
}  # fmt: skip


def row(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return job_row("c", job(status, **spec), OBJECT)


def test_a_row_holds_what_the_schema_asks_and_leaves_out_what_is_unknown() -> None:
    shown = job_row("c", AnalysisJob.from_wire(OBJECT), OBJECT)
    assert shown == {
        "cluster": "c", "uid": UID, "namespace": "n", "name": "a", "jobId": UID, "queue": "q", "phase": "Queued",
        "status": "queued", "priority": "HIGH", "negPriority": -3.0, "sequence": 7.0, "attempt": 0.0, "retries": 0.0,
        "createdAt": 1767322800000.0, "queuedAt": 1767322801000.0, "deadLettered": False, "manifest": shown["manifest"],
    }  # fmt: skip
    assert json.loads(shown["manifest"]) == {
        "labels": {"team": "x"}, "annotations": {"note": "y"}, "spec": OBJECT["spec"],
    }  # fmt: skip


def test_what_aging_raised_counts_for_the_order() -> None:
    assert row({"effectivePriority": "URGENT"}, priority="LOW")["negPriority"] == -4.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (running("BackingOff") | {"attempts": [{"attempt": 1, "reason": "Exit", "message": "m"}]}, ("Exit", "m")),
        ({"phase": "Failed", "attempts": [{"attempt": 1, "reason": "Gone", "message": "404"}]}, ("Gone", "404")),
        ({"phase": "Succeeded", "attempts": [{"attempt": 1, "reason": "Exit", "message": "m"}]}, (None, None)),
        (running(), (None, None)),
    ],
)
def test_a_row_says_why_a_job_waits_or_failed(status: dict[str, Any], expected: tuple[str | None, str | None]) -> None:
    shown = row(status)
    assert (shown.get("reason"), shown.get("message")) == expected


def test_a_rejected_job_says_why() -> None:
    finished = {"type": "Finished", "status": "True", "reason": "QueueFull", "message": "Full.",
                "lastTransitionTime": "2026-01-02T03:04:05Z"}  # fmt: skip
    shown = row({"phase": "Rejected", "conditions": [finished]})
    assert (shown["status"], shown["reason"], shown["message"]) == ("rejected", "QueueFull", "Full.")


def test_progress_is_apart_and_absent_before_there_is_any() -> None:
    assert progress_row(job()) is None
    progress = {"attempt": 1, "percentage": 45, "stage": "Analyzing", "updatedAt": "2026-01-02T03:04:05.5Z"}
    assert progress_row(job(running(progress=progress))) == {
        "attempt": 1.0, "percentage": 45.0, "stage": "Analyzing", "updatedAt": 1767323045500.0,
    }  # fmt: skip


def test_a_digest_is_blind_for_the_fraction_that_json_drops_and_for_nothing_else() -> None:
    shown = row()
    returned = json.loads(json.dumps({k: int(v) if isinstance(v, float) else v for k, v in shown.items()}))
    assert digest(shown, None) == digest(returned, None)
    assert digest(shown, None) != digest(shown | {"name": "b"}, None)
    assert digest(shown, None) != digest(shown, {"percentage": 1.0})


def test_a_queue_row_shows_the_mode_the_limits_and_the_totals() -> None:
    status = {"queued": 3, "active": 1, "totals": {"succeeded": 4, "runSeconds": 2.5}}
    shown = queue_row("c", queue(status, mode="Paused", maxConcurrentJobs=2))
    assert (shown["mode"], shown["maxConcurrentJobs"], shown["queued"], shown["succeeded"], shown["runSeconds"]) == (
        "Paused", 2.0, 3.0, 4.0, 2.5,
    )  # fmt: skip


# --- the shadow ---------------------------------------------------------------------------------------------------


def test_the_shadow_takes_newer_versions_only_and_finds_jobs_by_their_id() -> None:
    shadow = Shadow()
    first = update_of("c", "job", OBJECT)
    assert shadow.put(first)
    assert not shadow.put(first)
    newer = {**OBJECT, "metadata": OBJECT["metadata"] | {"resourceVersion": "10"}}
    assert shadow.put(update_of("c", "job", newer))
    assert not shadow.put(first)
    assert (shadow.by_job_id, shadow.version) == ({UID: UID}, 10)
    shadow.remove("job", UID)
    assert (shadow.by_job_id, list(shadow.uids("job"))) == ({}, [])


def test_a_deletion_is_told_by_uid_and_version() -> None:
    assert Update("job", "u", 5, None).to_wire(2) == {"epoch": 2.0, "version": 5.0, "uid": "u"}


# --- what apps ask --------------------------------------------------------------------------------------------------


def request(**submission: Any) -> dict[str, Any]:
    return {"jobId": "k17abc", "submission": {"videoUrl": "https://example.com/v"} | submission}


def test_a_submission_becomes_an_analysisjob_with_the_requests_id() -> None:
    asked = request(
        videoId="v", queue="bulk", type="t", priority="LOW", timeoutSeconds=60.0, maxRetries=0.0,
        params=[{"name": "_x", "value": "1"}], notBefore=1767323045500.0, callbackUrl="https://example.com/hook",
    )  # fmt: skip
    made = job_of(asked, "n")
    assert made["metadata"] == {"name": "convex-k17abc", "namespace": "n"}
    assert made["spec"] == {
        "jobId": "k17abc", "videoUrl": "https://example.com/v", "videoId": "v", "queueName": "bulk", "type": "t",
        "priority": "LOW", "timeoutSeconds": 60, "maxRetries": 0, "params": {"_x": "1"},
        "notBefore": "2026-01-02T03:04:05Z", "callback": {"url": "https://example.com/hook"},
    }  # fmt: skip


def test_an_id_that_is_no_name_gives_a_name_all_the_same_and_always_the_same() -> None:
    odd = request() | {"jobId": "0001;jobs" * 9}
    assert job_of(odd, "n")["metadata"]["name"] == job_of(odd, "n")["metadata"]["name"]
    assert len(job_of(odd, "n")["metadata"]["name"]) <= 63


@pytest.mark.parametrize(
    ("status", "replay", "expected"),
    [
        ({"phase": "Failed"}, 0, 1),
        ({"phase": "Failed", "observedReplay": 3}, 2, 4),
        ({"phase": "Failed", "observedReplay": 0}, 1, None),
        ({"phase": "Queued", "observedReplay": 1, "queuedAt": "2026-01-02T03:04:06Z"}, 1, None),
    ],
)
def test_a_retry_that_was_carried_out_is_not_carried_out_again(
    status: dict[str, Any], replay: int, expected: int | None
) -> None:
    assert next_replay(job(status, replay=replay), NOW) == expected


@pytest.mark.parametrize("status", [{"phase": "Succeeded"}, running(), {"phase": "Queued"}])
def test_only_what_failed_is_retried(status: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="failed for good"):
        next_replay(job(status), NOW)


# --- a restore --------------------------------------------------------------------------------------------------------


def test_a_restored_job_keeps_its_id_and_its_queue_and_begins_anew() -> None:
    shown = job_row("c", AnalysisJob.from_wire(OBJECT), OBJECT)
    made = manifest_of(shown)
    assert made["metadata"] == {"name": "a", "namespace": "n", "labels": {"team": "x"}, "annotations": {"note": "y"}}
    assert made["spec"] == {
        "jobId": UID, "queueName": "q", "videoUrl": "https://example.com/v.mp4", "priority": "HIGH",
        "params": {"a": "b"},
    }  # fmt: skip
    assert "status" not in made


# --- settings -------------------------------------------------------------------------------------------------------


def test_without_a_url_there_is_no_convex_side() -> None:
    assert Settings.from_environment({}) is None


def test_settings_come_from_the_environment(tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("s" * 40 + "\n")
    settings = Settings.from_environment({
        "KLIPSTREAM_CONVEX_URL": "https://x.convex.cloud", "KLIPSTREAM_CONVEX_SECRET_FILE": str(tmp_path / "secret"),
        "KLIPSTREAM_CONVEX_SWEEP_SECONDS": "60", "KLIPSTREAM_CONVEX_CLUSTER": "eu",
    })  # fmt: skip
    assert settings is not None
    assert (settings.secret, settings.sweep_seconds, settings.cluster) == ("s" * 40, 60.0, "eu")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"KLIPSTREAM_CONVEX_URL": "http://x.convex.cloud"}, "https"),
        ({"KLIPSTREAM_CONVEX_URL": "https://x.convex.cloud"}, "must name a file"),
        ({"KLIPSTREAM_CONVEX_URL": "https://x", "KLIPSTREAM_CONVEX_SECRET_FILE": "/nowhere/x"}, "cannot be read"),
        ({"KLIPSTREAM_CONVEX_URL": "https://x", "KLIPSTREAM_CONVEX_SECRET_FILE": "/dev/null"}, "is empty"),
    ],
)
def test_settings_that_cannot_work_say_why(environment: dict[str, str], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Settings.from_environment(environment)
