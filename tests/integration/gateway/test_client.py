"""The Python client against a real gateway, operator and API server; the guide's examples run as they stand."""

import asyncio
from typing import Any

import httpx
import pytest

import klipstream
from klipstream import AsyncClient, Client, State
from klipstream.retrying import Retries

# The guide's code examples; of each only its imports are changed.
HIGH_PRIORITY_JOB = """
from klipstream.queue_manager import QueueManager, QueuedJob, JobPriority
from datetime import datetime

async def example():
    # Create high priority job
    job = QueuedJob(
        job_id="urgent-stream-123",
        video_id="live_stream_456",
        video_url="https://twitch.tv/videos/123456",
        priority=JobPriority.HIGH,
        queued_at=datetime.utcnow(),
        callback_url="https://your-app.com/webhooks/analysis",
        metadata={"user_id": "premium_user_789"}
    )

    # Add to queue
    queue_manager = QueueManager()
    success = await queue_manager.enqueue_job(job)
    return job, success
"""
MONITORING = """
import asyncio
from klipstream.queue_manager import QueueManager

async def monitor_queue():
    queue_manager = QueueManager()

    while True:
        status = await queue_manager.get_queue_status()

        # Alert if queue is backing up
        if status["queue_length"] > 20:
            print(f"WARNING: Queue length is {status['queue_length']}")

        # Alert if no workers active
        if status["active_workers"] == 0 and status["queue_length"] > 0:
            print("CRITICAL: No active workers but jobs in queue")

        await asyncio.sleep(60)  # Check every minute
"""
CALLBACK = """
from klipstream.job_manager import job_manager

async def custom_progress_callback(job):
    \"\"\"Custom callback for job progress updates\"\"\"
    print(f"Job {job.id}: {job.status.value} - {job.progress_percentage:.1f}%")

    # Send to external monitoring system
    await send_to_monitoring_system({
        "job_id": job.id,
        "video_id": job.video_id,
        "progress": job.progress_percentage,
        "stage": job.status.value,
        "timestamp": job.updated_at.isoformat()
    })

# Register callback
def register(job_id):
    return job_manager.register_progress_callback(job_id, custom_progress_callback)
"""


@pytest.fixture
def environment(stack, monkeypatch):
    monkeypatch.setenv("KLIPSTREAM_URL", stack.gateway.url)
    monkeypatch.setenv("KLIPSTREAM_API_KEY", stack.gateway.keys["admin"])


def run_code(code: str, **names: Any) -> dict[str, Any]:
    exec(code, names)
    return names


async def test_the_guides_monitoring_example_warns(stack, environment, capsys):
    """First in this module: nothing runs yet."""
    batch = [{"video_url": "https://example.com/v", "queue": "paused"}] * 21
    assert stack.admin.post("/api/v1/analysis/batch", json={"jobs": batch}).json()["accepted"] == 21
    monitoring = asyncio.create_task(run_code(MONITORING)["monitor_queue"]())
    said = ""
    for _ in range(200):
        await asyncio.sleep(0.1)
        said += capsys.readouterr().out
        if "CRITICAL" in said:
            break
    monitoring.cancel()
    assert "WARNING: Queue length is 21" in said
    assert "CRITICAL: No active workers but jobs in queue" in said


async def test_the_guides_example_of_a_high_priority_job(stack, environment):
    job, success = await run_code(HIGH_PRIORITY_JOB)["example"]()
    assert success
    again, success = await run_code(HIGH_PRIORITY_JOB)["example"]()
    assert success
    assert job.id == again.id, "the same job_id is the same job"
    found = stack.admin.get(f"/api/v1/jobs/{job.id}").json()
    assert (found["priority"], found["reference"], found["video_id"]) == (
        "HIGH",
        "urgent-stream-123",
        "live_stream_456",
    )


async def test_the_guides_example_of_a_progress_callback(stack, environment, capsys):
    job_id = stack.submit(video_id="v1", params={"fake_seconds": "1"})
    sent = []

    async def send_to_monitoring_system(update):
        sent.append(update)

    await run_code(CALLBACK, send_to_monitoring_system=send_to_monitoring_system)["register"](job_id)
    assert sent[-1]["stage"] == "completed"
    assert sent[-1]["progress"] == 100.0
    assert {each["job_id"] for each in sent} == {job_id}
    assert f"Job {job_id}: completed - 100.0%" in capsys.readouterr().out


def test_the_client_submits_waits_and_reads(stack):
    with Client(stack.gateway.url, stack.gateway.keys["admin"]) as client:
        submitted = client.submit("https://example.com/v", priority="HIGH", params={"fake_seconds": "0.5"})
        done = client.wait(submitted.job_id, timeout_seconds=120)
        assert done.status is State.COMPLETED
        job = client.get(submitted.job_id)
        assert [each.attempt for each in job.attempts] == [1]
        assert submitted.job_id in [each.job_id for each in client.page(limit=200).jobs]
        # Totals come with the write that releases the slot.
        stack.world.until(lambda: client.queue_metrics().performance.total_jobs_processed >= 1, "it is counted")
        assert client.configure("paused", max_queue_size=50).max_queue_size == 50
        with pytest.raises(klipstream.NotFound) as missing:
            client.status("00000000-0000-4000-8000-000000000000")
        assert missing.value.code == "job-not-found"
        with pytest.raises(klipstream.Conflict):
            client.retry(submitted.job_id)


async def test_waiting_for_a_job_that_does_not_end_times_out(stack):
    job_id = stack.submit(queue="paused")
    async with AsyncClient(stack.gateway.url) as client:
        with pytest.raises(klipstream.WaitTimedOut):
            await client.wait(job_id, timeout_seconds=1)


async def test_a_submission_whose_answer_is_lost_makes_one_job(stack):
    class LosesFirstAnswer(httpx.AsyncHTTPTransport):
        sent = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            self.sent += 1
            if self.sent == 1:
                await answer.aread()
                raise httpx.ReadError("the answer was lost", request=request)
            return answer

    transport = LosesFirstAnswer()
    async with AsyncClient(stack.gateway.url, stack.gateway.keys["admin"], transport=transport) as client:
        submitted = await client.submit("https://example.com/v", queue="paused", reference="lost-answer")
        found = await client.page(reference="lost-answer")
    assert transport.sent >= 2
    assert [job.job_id for job in found.jobs] == [submitted.job_id]


async def test_a_follower_goes_on_at_another_replica_without_a_repetition(stack, control_plane, tmp_path):
    """The stream of a gateway that is killed is taken up by the next, with Last-Event-ID."""
    from klipgate.process import Gateway

    first = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace)
    first.start()
    job_id = stack.submit(queue="paused")
    seen = []
    try:
        first.wait()
        async with AsyncClient(first.url, retries=Retries(at_most=100)) as client:

            async def follow() -> None:
                async for status in client.follow(job_id):
                    seen.append((status.status, status.priority))

            following = asyncio.create_task(follow())
            while not seen:
                await asyncio.sleep(0.05)
            await asyncio.sleep(2)
            before = list(seen)
            first.kill()
            first.start()
            await asyncio.to_thread(first.wait)
            await asyncio.sleep(2)
            assert seen == before, "what has not changed is not sent again"
            stack.submitter.put(f"/api/v1/jobs/{job_id}/priority", json={"priority": "LOW"})
            stack.submitter.post(f"/api/v1/jobs/{job_id}/cancel")
            async with asyncio.timeout(60):
                await following
    finally:
        first.kill()
    assert seen[-1][0] is State.CANCELLED
    assert seen[-1][1] == "LOW"
