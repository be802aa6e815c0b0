"""Posts progress in the background: never more often than the queue asks for, never in the way of the analysis."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from klipstream_worker.endpoint import Answer, Endpoint, PostFailed
from klipstream_worker.errors import AnalysisError, Cancelled, StaleAttempt

log = logging.getLogger("klipstream_worker")
FIRST_INTERVAL_SECONDS = 5.0
INTERVAL_BOUNDS_SECONDS = (0.05, 300.0)
HEARTBEAT_SECONDS = 5.0
"""A post that says nothing new is made that often, or as rarely as the queue wants posts, to hear of a cancel."""
BACKOFF_AT_MOST_SECONDS = 30.0
LAST_RETRY_SECONDS = 0.5
FLUSH_SECONDS = 5.0
MESSAGE_CHARACTERS = 256


@dataclass(frozen=True)
class Update:
    """What is to be posted; newer ones replace it."""

    percentage: float
    stage: str
    message: str = ""
    checkpoint: str | None = None


Extras = Callable[[], "dict[str, Any]"]
"""What is worked out only when a post is made: the seconds that remain, the resources."""


OnStop = Callable[[AnalysisError], None]
OnReply = Callable[["dict[str, Any]"], None]


class Reporter:
    """Keeps the latest update and posts it from a thread of its own.

    `stop_reason` says that the queue wants the analysis to end, `checkpoint_requested` that it wants a checkpoint.
    Nothing here raises because of the network.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        extras: Extras = dict,
        on_stop: OnStop = lambda _: None,
        on_reply: OnReply = lambda _: None,
    ) -> None:
        self.stop_reason: AnalysisError | None = None
        self.checkpoint_requested = False
        self.deadline: str | None = None
        """When the queue ends the attempt, in the format of RFC 3339."""
        self._endpoint = endpoint
        self._extras = extras
        self._on_stop = on_stop
        self._on_reply = on_reply
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._latest: Update | None = None
        self._unsent = False
        self._taken_last: Update | None = None
        self._finish_by: float | None = None
        self._last_try_at = 0.0
        self._interval_seconds = FIRST_INTERVAL_SECONDS
        self._not_before = 0.0
        self._beat_at = 0.0
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="klipstream-progress", daemon=True)

    def start(self) -> None:
        """Begin to post what is offered."""
        try:
            self._thread.start()
        except RuntimeError as error:  # the process may have no more threads
            log.warning("progress is not posted: %s", error)

    def offer(self, update: Update) -> None:
        """Replace what is to be posted; returns at once. In a forked child nothing happens."""
        if os.getpid() != self._pid:
            return  # the thread is not here, and the lock may be held for ever
        with self._changed:
            if update != self._latest:
                self._latest, self._unsent = update, True
                self._changed.notify()

    def finish(self) -> bool:
        """Post what is not posted yet, for FLUSH_SECONDS at most; whether nothing is left."""
        seconds = FLUSH_SECONDS
        with self._changed:
            self._finish_by = time.monotonic() + seconds
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return self._taken_last == self._latest or isinstance(self.stop_reason, StaleAttempt)

    def _run(self) -> None:
        try:
            while (update := self._next()) is not None:
                self._post(update)
        except Exception:  # whatever it is, the analysis is worth more than its progress
            log.exception("progress is posted no more")
        finally:
            self._endpoint.close()

    def _next(self) -> Update | None:
        """Wait until something is due; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                over = isinstance(self.stop_reason, StaleAttempt)
                if over or (self._finish_by is not None and (not self._unsent or now >= self._finish_by)):
                    return None
                due = self._due()
                if due is not None and due <= now:
                    # Only what is posted counts as sent: an update that comes meanwhile is posted as well.
                    self._unsent = False
                    return self._latest
                until = min((at for at in (due, self._finish_by) if at is not None), default=None)
                self._changed.wait(None if until is None else until - now)

    def _due(self) -> float | None:
        if self._latest is None:
            return None
        if self._finish_by is not None:
            return self._last_try_at
        return self._not_before if self._unsent else max(self._not_before, self._beat_at)

    def _post(self, update: Update) -> None:
        began = time.monotonic()
        try:
            answer = self._endpoint.post(self._body(update))
        except PostFailed as error:
            self._failed(began, str(error))
            return
        if answer.status == 409:
            self._stop(StaleAttempt("the queue says that this attempt is over: another one took its place"))
        elif answer.status == 200:
            self._taken_last = update
            self._taken(answer)
            self._not_before = began + self._interval_seconds
            self._beat_at = began + max(self._interval_seconds, HEARTBEAT_SECONDS)
        elif answer.status in (400, 413):
            # The same would be refused again.
            log.warning("progress was refused: %d %s", answer.status, _text(answer))
            self._not_before = began + self._interval_seconds
            self._beat_at = began + BACKOFF_AT_MOST_SECONDS
        else:
            self._failed(began, f"HTTP {answer.status} {_text(answer)}", answer.retry_after_seconds)

    def _body(self, update: Update) -> bytes:
        body: dict[str, Any] = {
            "percentage": round(update.percentage, 1),
            "stage": update.stage,
            "message": update.message[:MESSAGE_CHARACTERS],
        }
        if update.checkpoint is not None:
            body["checkpoint"] = update.checkpoint
        body.update(self._extras())
        # ASCII: a lone surrogate in a message must not end the reporting.
        return json.dumps(body).encode("ascii")

    def _taken(self, answer: Answer) -> None:
        if self._failures:
            log.info("progress is posted again")
        self._failures = 0
        try:
            reply = json.loads(answer.body)
            least, most = INTERVAL_BOUNDS_SECONDS
            interval = float(reply.get("min_interval_seconds", self._interval_seconds))
            desired, deadline = reply.get("desired"), reply.get("deadline")
        except (ValueError, TypeError, AttributeError, RecursionError):
            # It may hold what was sealed, so it is not shown.
            log.warning("the queue's reply of %d bytes was not understood", len(answer.body))
            return
        self._on_reply(reply)
        self._interval_seconds = min(most, max(least, interval))
        if isinstance(deadline, str):
            self.deadline = deadline
        if desired == "Cancel" and self.stop_reason is None:
            self._stop(Cancelled("the job was cancelled"))
        if desired == "Checkpoint":
            self.checkpoint_requested = True

    def _failed(self, began: float, why: str, retry_after_seconds: float | None = None) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("progress could not be posted, the analysis goes on: %s", why)
        pause = min(BACKOFF_AT_MOST_SECONDS, self._interval_seconds * 2 ** min(self._failures - 1, 8))
        if retry_after_seconds is not None:
            pause = min(BACKOFF_AT_MOST_SECONDS, max(0.2, retry_after_seconds))
        elif self._failures > 1:
            # When the queue is back not all of its workers come in the same moment.
            pause *= random.uniform(0.75, 1.0)  # noqa: S311
        with self._changed:
            self._unsent = True
            now = time.monotonic()
            self._not_before = max(now, began + pause)
            if self._finish_by is not None:
                self._last_try_at = now + LAST_RETRY_SECONDS

    def _stop(self, reason: AnalysisError) -> None:
        self.stop_reason = reason
        self._on_stop(reason)


def _text(answer: Answer) -> str:
    return answer.body[:200].decode("utf-8", "replace")
