"""What becomes of a submission."""

import base64
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from klipstream_api import AnalysisJob
from klipstream_gateway.cluster import refusal
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.requests import Submission
from klipstream_gateway.submission import Sealer, taken
from klipstream_kube import Forbidden
from klipstream_relay.signing import BadSecret, SigningSecret
from klipstream_sealing import KeyRing


def job(phase: str, reason: str = "") -> AnalysisJob:
    finished = {"type": "Finished", "status": "True", "reason": reason, "message": "The queue is as it is.",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    return AnalysisJob.from_wire(
        {"metadata": {"name": "a", "uid": "a", "resourceVersion": "1"}, "spec": {"videoUrl": "https://example.com/v"},
         "status": {"phase": phase, "conditions": [finished] if reason else []}}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "problem", "again"),
    [
        ("QueueFull", Problem.QUEUE_FULL, True),
        ("QueueDraining", Problem.QUEUE_DRAINING, True),
        ("ResourcesOutOfBounds", Problem.INVALID, False),
    ],
)
def test_a_job_that_the_operator_rejected_was_not_taken(reason: str, problem: Problem, again: bool) -> None:
    with pytest.raises(Refused) as refused:
        taken(job("Rejected", reason))
    assert refused.value.problem is problem
    assert ("Retry-After" in refused.value.headers) is again
    assert "new Idempotency-Key" in refused.value.detail


@pytest.mark.parametrize("phase", ["Queued", "Running", "Succeeded", "Failed", "Cancelled"])
def test_any_other_was_taken(phase: str) -> None:
    assert taken(job(phase)).status.phase == phase


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("the queue draining-x is full (1 jobs wait, maxQueueSize is 1): submit again later", Problem.QUEUE_FULL),
        ("the queue full is draining and takes no new jobs: submit again once", Problem.QUEUE_DRAINING),
        ("no draining here, says the platform team", Problem.UNAVAILABLE),
    ],
)
def test_a_policy_is_understood_by_its_words_and_not_by_the_queues_name(said: str, problem: Problem) -> None:
    prefix = (
        "analysisjobs \"job-1\" is forbidden: ValidatingAdmissionPolicy 'a-draining-r' with binding 'b' denied request"
    )
    assert refusal(Forbidden(403, "Forbidden", f"{prefix}: {said}")).problem is problem


def test_metadata_that_is_too_long_once_it_is_sealed_is_named() -> None:
    """A limit of characters holds four times as many bytes."""
    sealer = Sealer(KeyRing.new(datetime.now(UTC)).public, "n")
    long = Submission(video_url="https://example.com/v", metadata={"a": "\U0001f3a5" * 3000, "b": "\U0001f3a5" * 2900})
    with pytest.raises(Refused) as refused:
        sealer.sealed(long, "a-job")
    assert refused.value.problem is Problem.INVALID
    assert [each.field for each in refused.value.errors or ()] == ["body.metadata"]


def _secret(size: int, *, padded: bool = True) -> str:
    text = base64.b64encode(bytes(size)).decode()
    return "whsec_" + (text if padded else text.rstrip("="))


@pytest.mark.parametrize("secret", [_secret(24), _secret(32), _secret(64)])
def test_a_signing_secret_that_the_relay_takes_is_taken(secret: str) -> None:
    SigningSecret.parse(secret)
    assert Submission(video_url="https://example.com/v", callback_secret=secret).callback_secret == secret


@pytest.mark.parametrize("secret", [_secret(66), _secret(84), _secret(32, padded=False), "whsec_" + "A" * 33])
def test_a_signing_secret_that_the_relay_would_refuse_is_refused_at_once(secret: str) -> None:
    with pytest.raises(BadSecret):
        SigningSecret.parse(secret)
    with pytest.raises(ValidationError, match="callback_secret"):
        Submission(video_url="https://example.com/v", callback_secret=secret)
