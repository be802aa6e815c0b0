"""What a restored object keeps of the old cluster, and what it does not."""

from typing import Any

import pytest

from klipstream_api import AnalysisJob
from klipstream_operator.restore import in_order, job_status, manifest, queue_status
from klipstream_operator.statuses import is_accepted

NOW = "2026-01-02T03:04:05.000Z"
CREATED = {"metadata": {"uid": "new", "resourceVersion": "17"}}


def job(name: str = "film", spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    metadata = {
        "name": name, "namespace": "media", "uid": "old", "resourceVersion": "900", "labels": {"team": "a"},
        "creationTimestamp": "2026-01-02T03:04:05Z", "ownerReferences": [{}],
        "annotations": {"note": "keep", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }  # fmt: skip
    return {
        "kind": "AnalysisJob", "metadata": metadata, "status": status,
        "spec": {"videoUrl": "https://example.com/v.mp4"} | (spec or {}),
    }  # fmt: skip


def test_a_job_keeps_its_id_and_nothing_that_only_the_old_cluster_knew() -> None:
    made = manifest(job())
    assert made["spec"]["jobId"] == "old"
    assert made["metadata"] == {
        "name": "film", "namespace": "media", "labels": {"team": "a"}, "annotations": {"note": "keep"},
    }  # fmt: skip
    assert manifest(job(spec={"jobId": "mine"}))["spec"]["jobId"] == "mine"


def test_a_job_keeps_what_the_gateway_wrote_of_its_submission() -> None:
    submitted = job()
    known = {"analysis.klipstream.io/payload-sha256": "ab12", "analysis.klipstream.io/reference": "order-7"}
    submitted["metadata"]["annotations"] |= known
    assert manifest(submitted)["metadata"]["annotations"] == {"note": "keep"} | known


def test_a_request_to_a_queue_is_not_asked_again() -> None:
    queue = job() | {"kind": "AnalysisQueue"}
    queue["metadata"]["annotations"] = {"analysis.klipstream.io/clear": "default"}
    made = manifest(queue)
    assert "annotations" not in made["metadata"]
    assert "jobId" not in made["spec"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Cancelled", "Rejected"])
def test_a_finished_job_keeps_all_of_its_status(phase: str) -> None:
    status = {"phase": phase, "sequence": 5, "attempt": 2, "announcedAt": "2026-01-02T03:04:05.000Z"}
    assert job_status(job(**status), CREATED) == status


@pytest.mark.parametrize("phase", ["Queued", "Starting", "Running", "BackingOff"])
def test_an_unfinished_job_waits_at_a_new_place_with_its_attempts_and_its_checkpoint(phase: str) -> None:
    progress = {
        "attempt": 2, "percentage": 40.0, "stage": "Analyzing", "checkpoint": "7", "updatedAt": NOW,
    }  # fmt: skip
    old = job(
        phase=phase, queueName="default", sequence=812, attempt=2, retries=1, progress=progress,
        stop={"attempt": 2, "reason": "Cancel", "at": "2026-01-02T03:04:05.000Z"},
        nextAttemptAt="2026-01-02T03:04:05.000Z",
    )  # fmt: skip
    status = job_status(old, CREATED)
    assert status == {
        "phase": "Queued", "queueName": "default", "sequence": 17, "attempt": 2, "retries": 1, "progress": progress,
    }  # fmt: skip
    assert is_accepted(
        AnalysisJob.from_wire(
            manifest(old) | {"metadata": {"name": "film", "namespace": "media", "uid": "new"}, "status": status}
        ).status
    )


def test_a_job_that_no_queue_had_taken_is_submitted_anew() -> None:
    assert job_status(job(phase="Queued", attempt=0), CREATED) == {"attempt": 0}


def test_queues_come_first_and_jobs_in_the_order_of_their_acceptance() -> None:
    queue = job("queue") | {"kind": "AnalysisQueue"}
    items = [job("waiting"), job("second", sequence=30), job("first", sequence=4), queue, {"kind": "Secret"}]
    assert [each["metadata"]["name"] for each in in_order(items)] == ["queue", "first", "second", "waiting"]


def test_a_queue_keeps_its_totals_and_no_reservation() -> None:
    queue = {"status": {"totals": {"succeeded": 4}, "admitted": [{"uid": "x"}], "initialized": True, "queued": 3}}
    assert queue_status(queue) == {"totals": {"succeeded": 4}}


def test_an_attempt_that_was_under_way_is_lost_and_burns_no_retry() -> None:
    ended = {"attempt": 1, "finishedAt": NOW, "failureClass": "Transient"}
    old = job(phase="Running", queueName="default", attempts=[ended, {"attempt": 2, "startedAt": NOW}], retries=1)
    status = job_status(old, CREATED)
    first, last = status["attempts"]
    assert first == ended
    assert (last["failureClass"], last["finishedAt"], status["retries"]) == ("Infrastructure", NOW, 1)
