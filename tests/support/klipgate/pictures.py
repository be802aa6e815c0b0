"""Pictures of the dashboard for the documentation, of a day that was made up."""

import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from klipfake.worker import Worker
from klipfake.world import job
from klipgate.browser import DESK, PHONE, Tab
from klipgate.stack import Stack

RUNNING = (
    ("live-final-2026", "URGENT", 63, "Analyzing", "scene 412 of 660", 420),
    ("2472774741", "HIGH", 31, "Transcribing", "speech recognition, 4.2 times real time", 900),
    ("keynote-day-2", "NORMAL", 8, "Downloading", "1.1 of 6.8 GB", 1500),
)
WAITING = ("URGENT", "HIGH", "HIGH", "NORMAL", "NORMAL", "NORMAL", "NORMAL", "LOW", "LOW", "LOW")
GONE = json.dumps({"error_code": "SourceGone", "retryable": False})


def take(stack: Stack, browser: Browser, folder: Path) -> None:
    """Write dashboard-*.png."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = day(stack)
    running, waiting = ids
    pages = {"overview": "", "queue": "/queues/default", "job": f"/jobs/{running}", "why": f"/jobs/{waiting}",
             "dead-letters": "/dead-letters", "administration": "/administration"}  # fmt: skip
    shots = (
        ("light", ("overview", "queue", "job", "why", "dead-letters", "administration"), {"color_scheme": "light"}),
        ("dark", ("overview", "job"), {"color_scheme": "dark"}),
        ("phone", ("overview", "queue", "why"), {"color_scheme": "light", "size": PHONE}),
    )
    for mode, names, options in shots:
        with Tab(browser, stack.gateway.url, **{"size": DESK} | options) as tab:
            tab.sign_in(stack.gateway.keys["admin"])
            for name in names:
                page = tab.go(pages[name])
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"dashboard-{name}-{mode}.png")


def day(stack: Stack) -> tuple[str, str]:
    """A day's history, then jobs that run, wait, failed; ids of two of them."""
    stack.world.queue("default", maxConcurrentJobs=3, retryDelaysSeconds=[1, 1, 1])
    stack.world.queue("archive", mode="Paused", maxConcurrentJobs=2, maxQueueSize=500)
    stack.world.kubectl("delete", "aq", "paused")
    for number in range(8):
        stack.submit(video_id=f"24727{number:05}", type="talk", params={"fake_seconds": f"{1 + number % 7}"})
    gone = [stack.submit(video_id=f"188043{n}731", params={"fake_exits": "3", "fake_message": GONE}) for n in range(3)]
    broken = stack.submit(video_id="9913002210", max_retries=1, params={"fake_exits": "1"})
    history(stack)
    for job_id in (*gone, broken):
        stack.until(job_id, "failed")
    running = []
    for video, priority, percentage, stage, message, seconds in RUNNING:
        running.append(stack.submit(video_id=video, priority=priority, type="talk", params={"fake_seconds": "3000"}))
        stack.until(running[-1], "processing")
        post(stack, running[-1], percentage, stage=stage, message=message, estimated_completion_seconds=seconds)
    waiting = [
        stack.submit(video_id=f"2473{number:06}", priority=priority, type="talk",
                     callback_url="https://hooks.example.com/analysis")
        for number, priority in enumerate(WAITING, 118_201)
    ]  # fmt: skip
    return running[0], waiting[4]


def post(stack: Stack, job_id: str, percentage: float, **more: Any) -> None:
    """Progress of a running job, as its worker posts it."""
    uid = next(item["metadata"]["uid"] for item in stack.world.items("aj") if item["spec"].get("jobId") == job_id)
    pods = json.loads(
        stack.world.kubectl("get", "pods", "-l", f"analysis.klipstream.io/job-uid={uid}", "-o", "json")
    )["items"]  # fmt: skip
    answer = Worker(stack.world, pods[0]["metadata"]["name"]).post(percentage, **more)
    assert answer.status_code == 200, answer.text


def history(stack: Stack) -> None:
    """Finished jobs of the last day, of which only the status is made up."""
    rng, now = random.Random(4), datetime.now(UTC)
    names = [(hour, n) for hour in range(24) for n in range(int(7 + 5 * math.sin(hour / 3.5)) + rng.randrange(3))]
    stack.world.apply(*(job(f"past-{h}-{n}", queueName="archive", videoId=f"past-{h}-{n}") for h, n in names))
    stack.world.until(
        lambda: all(item["status"].get("queuedAt") for item in stack.world.items("aj")), "everything is accepted"
    )

    def made_up(place: tuple[int, int]) -> None:
        hour, number = place
        started = now - timedelta(hours=23.5 - hour, minutes=rng.uniform(0, 25))
        wait = timedelta(minutes=rng.uniform(1, 12) + (14 if 8 < hour < 14 else 0))
        finished = min(started + timedelta(minutes=rng.uniform(5, 40)), now)
        moments = {"startedAt": text(started), "finishedAt": text(finished)}
        status = {"phase": "Succeeded", "queuedAt": text(started - wait), "attempt": 1,
                  "attempts": [{"attempt": 1} | moments]} | moments  # fmt: skip
        stack.world.kubectl("patch", "aj", f"past-{hour}-{number}", "--subresource=status", "--type=merge",
                            "-p", json.dumps({"status": status}))  # fmt: skip

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(made_up, names))


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
