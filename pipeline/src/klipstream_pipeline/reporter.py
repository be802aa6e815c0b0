"""Progress to the queue: posted in the background, never in the way of the analysis."""

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from klipstream_pipeline.outcome import Cancelled, StaleAttempt
from klipstream_pipeline.task import Task

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 5.0
FIRST_INTERVAL_SECONDS = 5.0
LAST_POST_SECONDS = 3.0
STAGES = {
    "Downloading": (0.0, 20.0),
    "Analyzing": (40.0, 80.0),
    "Finding Highlights": (80.0, 95.0),
    "Completed": (100.0, 100.0),
}


@dataclass(frozen=True)
class Post:
    """One progress post."""

    percentage: float
    stage: str
    message: str
    estimated_completion_seconds: float | None


class Reporter:
    """Posts progress at the pace that the queue asks for, a change of stage at once.

    A network that fails costs nothing but progress. What the queue wants is surfaced by `check`: it raises
    Cancelled or StaleAttempt in the analysis' own thread. Use it as a context manager.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._latest: Post | None = None
        self._stop_reason: Exception | None = None
        self._began = time.monotonic()
        self._urgent = threading.Event()
        self._closing = threading.Event()
        self._interval_seconds = FIRST_INTERVAL_SECONDS
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._task.progress_url is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is not sent yet, once, and wait a little for it."""
        self._closing.set()
        self._urgent.set()
        if self._thread.is_alive():
            self._thread.join(LAST_POST_SECONDS)

    def report(self, stage: str, share: float, message: str = "") -> None:
        """Say how far a stage is (0 to 1); the percentage of the whole follows from the stage's band."""
        low, high = STAGES[stage]
        percentage = low + (high - low) * min(1.0, max(0.0, share))
        elapsed = time.monotonic() - self._began
        left = elapsed * (100.0 - percentage) / percentage if percentage >= 5.0 else None
        new_stage = self._latest is None or self._latest.stage != stage
        self._latest = Post(round(percentage, 1), stage, message[:256], left)
        if new_stage:
            self._urgent.set()
        self.check()

    def check(self) -> None:
        """Raises Cancelled or StaleAttempt when the queue wants the worker to stop."""
        if self._stop_reason is not None:
            raise self._stop_reason

    def cancel(self, reason: str) -> None:
        """Make the next `check` raise Cancelled: for signals."""
        self._stop_reason = Cancelled(reason)

    def _run(self) -> None:
        sent: Post | None = None
        verify: ssl.SSLContext | bool = True
        if self._task.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(self._task.ca_file))
        with httpx.Client(verify=verify, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            while True:
                self._urgent.wait(self._interval_seconds)
                self._urgent.clear()
                post = self._latest
                if post is not None and post is not sent and self._send(client, post):
                    sent = post
                # What was reported during the last request is sent as well, once.
                if self._closing.is_set() and post is self._latest:
                    return

    def _send(self, client: httpx.Client, post: Post) -> bool:
        assert self._task.progress_url is not None
        body = {"percentage": post.percentage, "stage": post.stage, "message": post.message}
        if post.estimated_completion_seconds is not None:
            body["estimated_completion_seconds"] = round(post.estimated_completion_seconds, 1)
        headers = {}
        try:
            if self._task.token_file is not None:
                headers["Authorization"] = f"Bearer {self._task.token_file.read_text().strip()}"
            answer = client.post(self._task.progress_url, json=body, headers=headers)
        except (httpx.HTTPError, OSError) as error:
            log.warning("progress could not be posted: %s", error)
            return False
        if answer.status_code == 409:
            self._stop_reason = StaleAttempt("the queue says that this attempt is over")
            return True
        if answer.status_code != 200:
            log.warning("progress was not taken: %d %s", answer.status_code, answer.text[:200])
            return False
        self._obey(answer)
        return True

    def _obey(self, answer: httpx.Response) -> None:
        try:
            reply = answer.json()
            self._interval_seconds = min(
                60.0, max(0.1, float(reply.get("min_interval_seconds", FIRST_INTERVAL_SECONDS)))
            )
            desired = reply.get("desired")
        except (ValueError, TypeError, AttributeError):
            log.warning("the queue's reply was not understood: %s", answer.text[:200])
            return
        if desired == "Cancel":
            self._stop_reason = Cancelled("the job was cancelled")
