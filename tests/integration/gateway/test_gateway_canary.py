"""What is sensitive is nowhere in plain text: not in etcd, the audit log, events, our logs, metrics or answers."""

import uuid
from pathlib import Path

import httpx
import pytest


def holding(folder: Path, word: str) -> list[str]:
    """Files below a folder that hold a word."""
    needle = word.encode()
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()
    ]


def test_what_was_sealed_is_found_nowhere(stack, control_plane):
    if control_plane.audit_log is None:
        pytest.skip("kind's etcd is inside of its container")
    plain, secret, token = (f"canary-{uuid.uuid4().hex}" for _ in range(3))
    job_id = stack.submit(
        params={"fake_seconds": "0.2", "plain": plain}, metadata={"user_id": secret}, callback_token=token,
        callback_url="https://your-app.com/webhooks/analysis",
    )  # fmt: skip
    stack.until(job_id, "completed")
    refused = stack.submitter.post(
        "/api/v1/analysis", json={"video_url": "https://example.com/v", "metadata": {"id": secret}, "oops": token}
    )
    assert refused.status_code == 422
    cluster = control_plane.audit_log.parent
    assert any("etcd" in name for name in holding(cluster, plain)), "what is not sealed is found, so the search works"
    answers = [
        refused.text,
        stack.status(job_id),
        stack.reader.get(f"/api/v1/jobs/{job_id}").text,
        stack.reader.get("/api/v1/jobs").text,
        httpx.get(f"http://127.0.0.1:{stack.gateway.metrics_port}/metrics").text,
        stack.world.kubectl("get", "events,aj,aq,jobs,pods", "-o", "json"),
        stack.gateway.said(),
        stack.world.operator.said(),
    ]
    for word in (secret, token):
        assert holding(cluster, word) == []
        assert holding(stack.gateway.log.parent, word) == []
        assert not [answer for answer in answers if word in str(answer)]
