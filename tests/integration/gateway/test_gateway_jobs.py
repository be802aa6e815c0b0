"""Jobs through the gateway, from submission to the end, with a real operator."""

import json

import pytest

from klipstream_sealing import SealedFields


def test_a_submission_is_in_the_api_server_before_it_is_answered(stack):
    answer = stack.submitter.post(
        "/api/v1/analysis",
        json={
            "video_url": "https://example.com/a.mp4",
            "video_id": "2472774741",
            "priority": "HIGH",
            "queue": "paused",
        },
    )
    assert answer.status_code == 202, answer.text
    body = answer.json()
    (stored,) = [item for item in stack.world.items("aj") if item["spec"].get("jobId") == body["job_id"]]
    assert stored["spec"]["priority"] == "HIGH"
    assert stored["metadata"]["annotations"]["analysis.klipstream.io/submitted-by"] == "key:submitter"
    assert body["position"] == 1
    assert body["queue"] == "paused"
    assert answer.headers["Location"] == f"/api/v1/jobs/{body['job_id']}"


def test_a_job_is_followed_from_queued_to_completed(stack):
    job_id = stack.submit(params={"fake_seconds": "1"})
    done = stack.until(job_id, "completed")
    assert done["progress"] == {
        "percentage": 100.0, "current_stage": "Completed", "estimated_completion_seconds": 0.0,
    }  # fmt: skip
    assert done["attempt"] == 1
    assert done["finished_at"] is not None
    detail = stack.reader.get(f"/api/v1/jobs/{job_id}").json()
    assert [each["attempt"] for each in detail["attempts"]] == [1]
    assert detail["why_waiting"] == []


def test_positions_follow_priority_and_then_the_order_of_submission(stack):
    queue = "order"
    stack.world.queue(queue, mode="Paused")
    stack.world.until(lambda: stack.anyone.get(f"/api/v1/queue/status?queue={queue}").status_code == 200, "the queue")
    low = stack.submit(queue=queue, priority="LOW")
    first, second = stack.submit(queue=queue), stack.submit(queue=queue)
    urgent = stack.submit(queue=queue, priority="URGENT")
    positions = [stack.status(each)["position"] for each in (urgent, first, second, low)]
    assert positions == [1, 2, 3, 4]

    would = stack.anyone.get(f"/api/v1/jobs/{low}/status?priority=HIGH").json()
    assert would["position"] == 4
    assert would["what_if"]["position"] == 2

    changed = stack.submitter.put(f"/api/v1/jobs/{low}/priority", json={"priority": "HIGH"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["position"] == 2
    assert stack.status(first)["position"] == 3
    codes = ["queue-paused", "jobs-ahead"]
    stack.world.until(
        lambda: [each["code"] for each in stack.reader.get(f"/api/v1/jobs/{first}").json()["why_waiting"]] == codes,
        "it is accepted, and waits for these reasons",
    )


def test_an_idempotency_key_makes_one_job_of_many_sends(stack):
    body = {"video_url": "https://example.com/once.mp4", "queue": "paused"}
    key = {"Idempotency-Key": "5a2b0f0e"}
    first = stack.submitter.post("/api/v1/analysis", json=body, headers=key)
    again = stack.submitter.post("/api/v1/analysis", json=body, headers=key)
    assert first.status_code == again.status_code == 202
    assert first.json()["job_id"] == again.json()["job_id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = stack.submitter.post("/api/v1/analysis", json=body | {"priority": "LOW"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency-key-reused")
    with stack.gateway.client("red") as red:
        theirs = red.post("/api/v1/analysis", json=body, headers=key)
        assert theirs.status_code == 202
        assert theirs.json()["job_id"] != first.json()["job_id"], "a key is its owner's"


def test_a_cancelled_job_is_cancelled_and_stays_so(stack):
    job_id = stack.submit(queue="paused")
    assert stack.submitter.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 202
    stack.until(job_id, "cancelled")
    assert stack.submitter.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 202
    late = stack.submitter.put(f"/api/v1/jobs/{job_id}/priority", json={"priority": "LOW"})
    assert (late.status_code, late.json()["code"]) == (409, "job-finished")


def test_a_failed_job_is_a_dead_letter_and_can_be_retried(stack):
    job_id = stack.submit(params={"fake_seconds": "0.2", "fake_exits": "1,0"}, max_retries=0)
    stack.until(job_id, "failed")
    listed = stack.reader.get("/api/v1/dead-letters").json()["jobs"]
    assert job_id in [each["job_id"] for each in listed]
    assert stack.submitter.post(f"/api/v1/jobs/{job_id}/retry").status_code == 202
    done = stack.until(job_id, "completed")
    assert done["attempt"] == 2
    again = stack.submitter.post(f"/api/v1/jobs/{job_id}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "job-not-failed")


def test_metadata_is_sealed_for_that_job_alone(stack):
    secret = "premium_user_789"
    job_id = stack.submit(
        queue="paused", metadata={"user_id": secret},
        callback_url="https://your-app.com/webhooks/analysis", callback_token="a-bearer-token-of-theirs",
    )  # fmt: skip
    (stored,) = [item for item in stack.world.items("aj") if item["spec"].get("jobId") == job_id]
    text = json.dumps(stored)
    assert secret not in text
    assert "a-bearer-token-of-theirs" not in text
    opened = SealedFields.from_json(stack.ring.open(stored["spec"]["sealed"], stack.world.namespace, job_id))
    assert dict(opened.params) == {"user_id": secret}
    assert opened.callback is not None
    assert opened.callback.hosts == ("your-app.com",)
    assert secret not in stack.reader.get(f"/api/v1/jobs/{job_id}").text
    assert secret not in stack.gateway.said()


def test_the_public_status_shows_nothing_sensitive(stack):
    job_id = stack.submit(
        queue="paused", video_url="https://example.com/v.mp4?token=hush", params={"language": "hush"},
        callback_url="https://hush.your-app.com/w", reference="hush",
    )  # fmt: skip
    assert "hush" not in stack.anyone.get(f"/api/v1/jobs/{job_id}/status").text


def test_tenants_do_not_see_or_change_each_others_jobs(stack):
    with stack.gateway.client("red") as red, stack.gateway.client("blue") as blue:
        job_id = red.post("/api/v1/analysis", json={"video_url": "https://example.com/r", "queue": "paused"}).json()[
            "job_id"
        ]
        assert red.get(f"/api/v1/jobs/{job_id}").status_code == 200
        assert job_id in red.get("/api/v1/jobs").text
        assert job_id not in blue.get("/api/v1/jobs").text
        for answer in (
            blue.get(f"/api/v1/jobs/{job_id}"),
            blue.post(f"/api/v1/jobs/{job_id}/cancel"),
            blue.post(f"/api/v1/jobs/{job_id}/retry"),
            blue.put(f"/api/v1/jobs/{job_id}/priority", json={"priority": "URGENT"}),
            blue.get(f"/api/v1/jobs/{job_id}/logs"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "job-not-found")
        assert stack.status(job_id)["priority"] == "NORMAL"


def test_pages_show_every_job_once(stack):
    stack.world.queue("pages", mode="Paused")
    stack.world.until(lambda: stack.anyone.get("/api/v1/queue/status?queue=pages").status_code == 200, "the queue")
    submitted = {stack.submit(queue="pages", reference=f"n{number}") for number in range(7)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = stack.reader.get(f"/api/v1/jobs?queue=pages&limit=3{cursor}").json()
        seen += [each["job_id"] for each in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == 7
    assert set(seen) == submitted
    found = stack.reader.get("/api/v1/jobs?reference=n3").json()["jobs"]
    assert [each["reference"] for each in found] == ["n3"]


def test_a_batch_is_judged_one_by_one(stack):
    answer = stack.submitter.post(
        "/api/v1/analysis/batch",
        json={"jobs": [
            {"video_url": "https://example.com/1", "queue": "paused"},
            {"video_url": "https://example.com/2", "queue": "nowhere"},
        ]},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["accepted"], body["refused"]) == (1, 1)
    assert body["results"][1]["problem"]["code"] == "queue-not-found"


def test_a_full_queue_and_a_draining_one_refuse_at_once(stack):
    stack.world.queue("small", mode="Paused", maxQueueSize=1)
    stack.world.queue("closing", mode="Draining")
    stack.world.until(lambda: stack.anyone.get("/api/v1/queue/status?queue=closing").status_code == 200, "the queue")
    stack.submit(queue="small")
    full = stack.submitter.post("/api/v1/analysis", json={"video_url": "https://example.com/x", "queue": "small"})
    assert (full.status_code, full.json()["code"]) == (409, "queue-full")
    assert int(full.headers["Retry-After"]) > 0
    closing = stack.submitter.post("/api/v1/analysis", json={"video_url": "https://example.com/x", "queue": "closing"})
    assert (closing.status_code, closing.json()["code"]) == (409, "queue-draining")


def test_a_callback_inside_the_cluster_is_refused(stack):
    answer = stack.submitter.post(
        "/api/v1/analysis",
        json={"video_url": "https://example.com/x", "callback_url": "https://kubernetes.default.svc/api"},
    )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.callback_url")


def test_another_replica_knows_a_job_at_once(stack, control_plane, tmp_path):
    from klipgate.process import Gateway

    other = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace)
    other.start()
    try:
        other.wait()
        with other.client() as client:
            for _ in range(20):
                job_id = stack.submit(queue="paused")
                assert client.get(f"/api/v1/jobs/{job_id}/status").status_code == 200
    finally:
        other.kill()


@pytest.mark.parametrize("seconds", [1])
def test_a_wait_is_estimated_from_what_ran_before(stack, seconds):
    stack.world.queue("timed", maxConcurrentJobs=1)
    stack.world.until(lambda: stack.anyone.get("/api/v1/queue/status?queue=timed").status_code == 200, "the queue")
    first = stack.submit(queue="timed", params={"fake_seconds": str(seconds)})
    assert stack.status(first)["estimate"]["basis"] == "timeout"
    stack.until(first, "completed")
    jobs = [stack.submit(queue="timed", params={"fake_seconds": "6"}) for _ in range(4)]
    stack.world.until(lambda: stack.status(jobs[-1]).get("position") == 3, "the first of them has a slot")
    last = stack.status(jobs[-1])
    assert last["estimate"]["basis"] == "few-runs"
    assert last["position"] == 3
    assert 0 < last["estimate"]["start"]["p50_seconds"] <= 30
    assert last["estimate"]["finish"]["p50_seconds"] > last["estimate"]["start"]["p50_seconds"]
