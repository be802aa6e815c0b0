"""Queues through the gateway: the guide's figures and administration, with a real operator."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

GUIDE_METRICS = {
    "queue_length", "active_jobs", "active_workers", "max_workers", "utilization_percent", "queue_utilization_percent",
    "performance",
}  # fmt: skip
GUIDE_PERFORMANCE = {
    "total_jobs_processed", "total_jobs_failed", "total_jobs_retried", "average_processing_time", "uptime_seconds",
}  # fmt: skip
# As they stand in the guide.
CURL_LINES = """
curl -X POST https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app/api/v1/queue/pause
curl -X POST https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app/api/v1/queue/resume
curl https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app/api/v1/queue/status
curl https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app/api/v1/queue/metrics
curl -X POST https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app/api/v1/queue/clear-stuck
curl -X PUT https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app/api/v1/queue/config \\
  -H "Content-Type: application/json" \\
  -d '{"max_concurrent_jobs": 2}'
"""
CURL_COMMANDS = ["curl" + each for each in re.split(r"^curl", CURL_LINES, flags=re.MULTILINE)[1:]]
HOST = "https://klipstream-analysis-4vyl5ph7lq-uc.a.run.app"


def make_queue(stack, name: str, **spec) -> None:
    stack.world.queue(name, **spec)
    stack.world.until(lambda: stack.anyone.get(f"/api/v1/queue/status?queue={name}").status_code == 200, name)


def figures(stack, name: str) -> dict:
    return stack.anyone.get(f"/api/v1/queue/status?queue={name}").json()


@pytest.mark.parametrize("line", CURL_COMMANDS, ids=lambda line: line.rpartition("/")[2][:12])
def test_the_guides_curl_lines_run_as_they_are(stack, tmp_path: Path, line: str):
    """The host is replaced, and the key stands in the caller's .curlrc."""
    curlrc = (
        f'header = "Authorization: Bearer {stack.gateway.keys["admin"]}"\nsilent\nwrite-out = "\\n%{{http_code}}"\n'
    )
    (tmp_path / ".curlrc").write_text(curlrc)
    command = line.replace(HOST, stack.gateway.url)
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"CURL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, code = done.stdout.rpartition("\n")
    assert code in ("200", "202"), done.stdout
    json.loads(body)


def test_metrics_have_the_guides_fields_and_no_others(stack):
    metrics = stack.anyone.get("/api/v1/queue/metrics").json()
    assert metrics.keys() == GUIDE_METRICS
    assert metrics["performance"].keys() == GUIDE_PERFORMANCE


def test_uptime_counts_from_when_the_leader_took_over(stack):
    def uptime() -> int:
        return int(stack.anyone.get("/api/v1/queue/metrics").json()["performance"]["uptime_seconds"])

    stack.world.until(lambda: uptime() > 0, "the gateway, which asks every ten seconds, sees the leader")


def test_figures_add_up(stack):
    make_queue(stack, "figures", maxConcurrentJobs=3, maxQueueSize=20)
    for _ in range(2):
        stack.submit(queue="figures", params={"fake_seconds": "600"})
    stack.world.until(lambda: figures(stack, "figures")["active_jobs"] == 2, "two run")
    assert stack.admin.put("/api/v1/queue/config?queue=figures", json={"max_concurrent_jobs": 2}).status_code == 200
    for priority in ("URGENT", "NORMAL", "NORMAL"):
        stack.submit(queue="figures", priority=priority)
    now = figures(stack, "figures")
    assert now["queue_length"] == 3
    assert now["queued_by_priority"] == {"URGENT": 1, "HIGH": 0, "NORMAL": 2, "LOW": 0}
    assert (now["active_workers"], now["max_workers"], now["utilization_percent"]) == (2, 2, 100.0)
    assert now["queue_utilization_percent"] == 15.0
    metrics = stack.anyone.get("/api/v1/queue/metrics?queue=figures").json()
    assert {key: metrics[key] for key in GUIDE_METRICS - {"performance"}} == {
        key: now[key] for key in GUIDE_METRICS - {"performance"}
    }


def test_totals_count_what_was_processed_failed_and_retried(stack):
    make_queue(stack, "totals", retryDelaysSeconds=[0])
    done = stack.submit(queue="totals", params={"fake_seconds": "1", "fake_exits": "1,0"})
    failed = stack.submit(queue="totals", params={"fake_seconds": "0.1", "fake_exits": "1"}, max_retries=0)
    stack.until(done, "completed")
    stack.until(failed, "failed")

    def performance() -> dict:
        return stack.anyone.get("/api/v1/queue/metrics?queue=totals").json()["performance"]

    stack.world.until(lambda: performance()["total_jobs_processed"] == 2, "both are counted")
    now = performance()
    assert (now["total_jobs_failed"], now["total_jobs_retried"]) == (1, 1)
    assert now["average_processing_time"] >= 1.0


def test_a_paused_queue_takes_jobs_and_starts_none_until_it_is_resumed(stack):
    make_queue(stack, "pausing")
    assert stack.admin.post("/api/v1/queue/pause?queue=pausing").json()["queues"][0]["state"] == "paused"
    job_id = stack.submit(queue="pausing", params={"fake_seconds": "0.1"})
    assert stack.status(job_id)["position"] == 1
    assert stack.status(job_id)["estimated_wait_seconds"] is None
    assert stack.admin.post("/api/v1/queue/resume?queue=pausing").status_code == 200
    stack.until(job_id, "completed")


def test_a_cleared_queue_cancels_what_waits_and_says_how_many(stack):
    make_queue(stack, "clearing", mode="Paused")
    jobs = [stack.submit(queue="clearing") for _ in range(3)]
    stack.world.until(lambda: all(stack.status(each)["queued_at"] for each in jobs), "all are accepted")
    (act,) = stack.admin.post("/api/v1/queue/clear?queue=clearing").json()["queues"]
    assert (act["acknowledged"], act["count"]) == (True, 3)
    for each in jobs:
        stack.until(each, "cancelled")


def test_a_group_of_dead_letters_runs_again_after_its_canary(stack):
    make_queue(stack, "graves", retryDelaysSeconds=[0])
    jobs = [
        stack.submit(queue="graves", params={"fake_seconds": "0.1", "fake_exits": "1,0"}, max_retries=0)
        for _ in range(3)
    ]
    for each in jobs:
        stack.until(each, "failed")

    def groups() -> list:
        return stack.admin.get("/api/v1/dead-letters/groups?queue=graves").json()["groups"]

    stack.world.until(lambda: bool(groups()) and groups()[0]["count"] == 3, "the group")
    fingerprint = groups()[0]["fingerprint"]
    path = f"/api/v1/dead-letters/groups/{fingerprint}/replay?queue=graves"
    stack.admin.post("/api/v1/queue/drain?queue=graves")
    refused = stack.admin.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "queue-draining")
    stack.admin.post("/api/v1/queue/resume?queue=graves")
    (act,) = stack.admin.post(path).json()["queues"]
    assert (act["acknowledged"], act["count"]) == (True, 3)
    for each in jobs:
        stack.until(each, "completed")


def test_every_administrative_act_stands_in_the_audit_log_and_no_key_does(stack):
    answer = stack.admin.post("/api/v1/queue/pause?queue=paused")
    with stack.gateway.client("submit") as client:
        client.post("/api/v1/queue/pause?queue=paused")
    acts = {each["request"]: each for each in stack.gateway.audit()}
    act = acts[answer.headers["X-Request-Id"]]
    assert (act["who"], act["operation"], act["target"], act["status"]) == (
        "key:administrator", "pauseQueue", {"queue": "paused"}, 200,
    )  # fmt: skip
    assert [
        each["status"] for each in acts.values() if each["who"] == "key:submitter" and each["operation"] == "pauseQueue"
    ] == [403]
    assert not re.search(r"klip_[0-9a-f]{12}_[A-Za-z0-9_-]{20}", stack.gateway.said())


def test_the_audit_log_names_the_jobs_that_submissions_made(stack):
    video = {"video_url": "https://example.com/v.mp4", "queue": "paused"}
    with stack.gateway.client("submit") as client:
        one = client.post("/api/v1/analysis", json=video)
        batch = client.post("/api/v1/analysis/batch", json={"jobs": [video, video | {"queue": "none-such"}, video]})
        refused = client.post("/api/v1/analysis", json=video | {"queue": "none-such"})
    acts = {each["request"]: each for each in stack.gateway.audit()}
    made = [each["job"]["job_id"] for each in batch.json()["results"] if each["job"] is not None]
    assert len(made) == 2
    for answer, target in ((one, {"jobs": [one.json()["job_id"]]}), (batch, {"jobs": made}), (refused, {})):
        assert acts[answer.headers["X-Request-Id"]]["target"] == target
