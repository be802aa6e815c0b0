"""What `helm test` takes for a success, and what it says of anything else."""

import json
from typing import Any

import pytest

from klipstream_api import AnalysisQueue
from klipstream_operator.install_check import CHECKPOINT, CheckFailed, queue_manifest, verdict


def job(phase: str | None, **status: Any) -> dict[str, Any]:
    return {"status": ({"phase": phase} if phase else {}) | status}


@pytest.mark.parametrize("phase", [None, "Queued", "Starting", "Running", "BackingOff"])
def test_a_job_that_is_not_finished_says_nothing(phase: str | None) -> None:
    assert verdict(job(phase)) is None


def test_a_success_whose_progress_arrived_is_one() -> None:
    said = verdict(job("Succeeded", attempt=1, progress={"checkpoint": json.dumps(CHECKPOINT)}))
    assert said is not None
    assert "1 attempt" in said


def test_a_success_without_progress_points_to_the_endpoint() -> None:
    with pytest.raises(CheckFailed, match="port 8080"):
        verdict(job("Succeeded", attempt=1))


def test_a_failure_is_told_with_its_reason() -> None:
    finished = {"type": "Finished", "status": "True", "reason": "Permanent", "message": "no such image"}
    with pytest.raises(CheckFailed, match="Permanent: no such image"):
        verdict(job("Failed", conditions=[finished]))


def test_its_queue_is_one_that_no_job_without_a_queue_comes_to() -> None:
    queue = AnalysisQueue.from_wire(queue_manifest("r-test", "image", "Always", {}))
    assert queue.spec.accepts is not None
    assert queue.spec.accepts.types == ("r-test",)


def test_its_worker_runs_where_it_is_told_to() -> None:
    where = {"nodeSelector": {"pool": "analyses"}, "imagePullSecrets": [{"name": "registry"}],
             "securityContext": {"runAsNonRoot": True, "runAsUser": 7}}  # fmt: skip
    queue = AnalysisQueue.from_wire(queue_manifest("r-test", "image", "Always", where))
    spec = queue.spec.worker_template.spec
    assert {name: spec[name] for name in where} == where
    assert [each["name"] for each in spec["containers"]] == ["worker"]
