"""The relay as a process, with a real API server, real receivers and kill -9."""

import asyncio

import pytest

from klipwebhook.statuses import make_queue


async def test_a_job_s_life_is_announced_in_order_and_acknowledged(make_stage) -> None:
    stage = await make_stage({"good": "ok"})
    await make_queue(stage.client, stage.namespace, "default", {"name": "good", "url": stage.receivers.url("good")})
    job = stage.job("a")
    await job.submit(videoId="v1")
    await job.accept()
    await job.start()
    await job.progress(10, "Downloading")
    await job.retry()
    await job.start()
    await job.progress(50, "Analyzing")
    await stage.until(lambda: "job.progress" in stage.receivers.types("good")[-1:], "progress of the second attempt")
    await job.finish()
    await stage.until(lambda: "job.succeeded" in stage.receivers.types("good"), "the end is announced")
    expected = ["job.queued", "job.started", "job.retrying", "job.started", "job.progress", "job.succeeded"]
    found = stage.receivers.received("good")
    assert [each.type for each in found if each.type != "job.progress" or each.body["attempt"] == 2] == expected
    assert [each.body["sequence"] for each in found] == sorted({each.body["sequence"] for each in found})
    assert len({each.id for each in found}) == len(found)
    assert found[-1].body | {"sequence": 0, "timestamp": ""} == {
        "type": "job.succeeded", "job_id": job.uid, "video_id": "v1", "status": "completed", "attempt": 2,
        "progress": {"percentage": 100.0, "current_stage": "Completed", "estimated_completion_seconds": None},
        "sequence": 0, "timestamp": "",
    }  # fmt: skip
    for _ in range(100):
        status = await job.status()
        if status.get("announcedAt"):
            break
        await asyncio.sleep(0.1)
    assert status["announcedAt"] >= status["finishedAt"]
