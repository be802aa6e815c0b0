"""Submissions that are sent again, by the caller or after a lost answer."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
VIDEO = {"video_url": "https://example.com/v.mp4"}


def stored(stack, job_id: str) -> dict[str, Any]:
    (found,) = [each for each in stack.world.items("aj") if each["spec"].get("jobId") == job_id]
    return dict(found)


def test_a_submission_that_the_operator_rejected_is_refused_whenever_it_is_repeated(stack):
    """As where two gateways saw the last place free."""
    body, key = VIDEO | {"queue": "paused"}, {"Idempotency-Key": "rejected-later"}
    first = stack.submitter.post("/api/v1/analysis", json=body, headers=key)
    assert first.status_code == 202, first.text
    name = stored(stack, first.json()["job_id"])["metadata"]["name"]
    why = {"type": "Finished", "status": "True", "reason": "QueueFull", "message": "The queue paused is full.",
           "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    status = json.dumps({"status": {"phase": "Rejected", "conditions": [why]}})
    stack.world.kubectl("patch", "aj", name, "--subresource=status", "--type=merge", "-p", status)
    for _ in range(2):
        again = stack.submitter.post("/api/v1/analysis", json=body, headers=key)
        assert (again.status_code, again.json()["code"]) == (409, "queue-full")
        assert int(again.headers["Retry-After"]) > 0
    other = stack.submitter.post("/api/v1/analysis", json=body, headers={"Idempotency-Key": "a-new-one"})
    assert other.status_code == 202
