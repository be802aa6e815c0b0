"""What is sensitive is nowhere in plain text: not in etcd, the audit log, events, our logs, metrics or answers."""

import uuid
from pathlib import Path

import httpx
import pytest

from klipgate.process import Gateway
from klipstream_sealing import SealedFields


def holding(folder: Path, word: str) -> list[str]:
    """Files below a folder that hold a word."""
    needle = word.encode()
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()
    ]


def test_what_was_sealed_is_found_nowhere(stack, control_plane, tmp_path: Path):
    if control_plane.audit_log is None:
        pytest.skip("kind's etcd is inside of its container")
    plain, secret, token, signature, password = (f"canary-{uuid.uuid4().hex}" for _ in range(5))
    url = f"https://by:{password}@bucket.example.com/v.mp4?X-Amz-Expires=60&X-Amz-Signature={signature}"
    job_id = stack.submit(
        video_url=url, params={"fake_seconds": "0.2", "plain": plain}, metadata={"user_id": secret},
        callback_token=token, callback_url="https://your-app.com/webhooks/analysis",
    )  # fmt: skip
    (batched,) = stack.submitter.post("/api/v1/analysis/batch", json={"jobs": [{"video_url": url}]}).json()["results"]
    stack.until(job_id, "completed")
    refused = stack.submitter.post(
        "/api/v1/analysis", json={"video_url": url, "metadata": {"id": secret}, "oops": token}
    )
    assert refused.status_code == 422
    unsealed = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace)
    unsealed.start()
    try:
        unsealed.wait()
        with unsealed.client("submit") as client:
            unable = client.post("/api/v1/analysis", json={"video_url": url})
    finally:
        unsealed.kill()
    assert unable.json()["code"] == "sealing-unavailable"
    assert "the signature in video_url" in unable.json()["detail"]
    with httpx.stream("GET", f"{stack.gateway.url}/api/v1/jobs/{job_id}/events", timeout=60) as stream:
        events = stream.read()
    (stored,) = [each for each in stack.world.items("aj") if each["spec"]["jobId"] == job_id]
    assert stored["spec"]["videoUrl"] == "https://bucket.example.com/v.mp4"
    opened = SealedFields.from_json(stack.ring.open(stored["spec"]["sealed"], stack.world.namespace, job_id))
    assert opened.video_url == url, "the worker is handed the whole"
    cluster = control_plane.audit_log.parent
    assert any("etcd" in name for name in holding(cluster, plain)), "what is not sealed is found, so the search works"
    answers = [
        refused.text,
        unable.text,
        unsealed.said(),
        batched,
        events,
        stack.status(job_id),
        stack.reader.get(f"/api/v1/jobs/{job_id}").text,
        stack.reader.get("/api/v1/jobs").text,
        httpx.get(f"http://127.0.0.1:{stack.gateway.metrics_port}/metrics").text,
        stack.world.kubectl("get", "events,aj,aq,jobs,pods", "-o", "json"),
        stack.gateway.said(),
        stack.world.operator.said(),
    ]
    for word in (secret, token, signature, password):
        assert holding(cluster, word) == []
        assert holding(stack.gateway.log.parent, word) == []
        assert not [answer for answer in answers if word in str(answer)]
