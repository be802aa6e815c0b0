"""The loop of the full-screen view: draw, wait for a key or a change, act."""

from __future__ import annotations

import signal
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live

from klipstream_api import AnalysisJob, AnalysisQueue, QueueMode
from klipstream_cli.errors import Unreachable
from klipstream_cli.live import actions
from klipstream_cli.live.keys import Keys
from klipstream_cli.live.picture import Feeds, Picture
from klipstream_cli.live.screen import View, frame, rows
from klipstream_cli.session import Session

REDRAW_SECONDS = 0.5
KEY_SECONDS = 0.1
PAGE = 10


class Screen:
    """The view on one scope, in one terminal."""

    def __init__(self, session: Session, picture: Picture, feeds: Feeds, console: Console) -> None:
        self._picture, self._feeds, self._console = picture, feeds, console
        self._where = f"-n {session.scope}" if session.scope is not None else "all namespaces"
        self._api = session.api.another()
        self._api.timeout_seconds = actions.ACTION_SECONDS
        self._view = View()
        self._pending: Callable[[], str] | None = None

    def draw(self) -> Group:
        """One frame of the terminal's size."""
        size = self._console.size
        with self._picture.lock:
            lines = frame(self._picture, self._view, size.width, size.height, self._feeds.now(), self._where)
        return Group(*lines)

    def run(self) -> None:
        """Until q, escape, Ctrl-C or the end of the terminal. Raises Problem where the jobs cannot be read at all."""
        resized = interrupted = False

        def on_resize(_number: int, _frame: object) -> None:
            nonlocal resized
            resized = True

        def on_interrupt(_number: int, _frame: object) -> None:
            # Not the usual exception: where it comes out of a finalizer Python drops it, and the view would go on.
            nonlocal interrupted
            interrupted = True

        before = [(number, signal.signal(number, handler)) for number, handler in
                  ((signal.SIGWINCH, on_resize), (signal.SIGINT, on_interrupt))]  # fmt: skip
        try:
            with Keys() as keys, Live(self.draw(), console=self._console, screen=True, auto_refresh=False) as live:
                idle = 0.0
                while (key := keys.next(KEY_SECONDS)) not in ("q", "escape", "ctrl-c", "closed") and not interrupted:
                    if self._picture.failed is not None:
                        raise self._picture.failed
                    idle += KEY_SECONDS
                    if key is None and not resized and not self._picture.changed.is_set() and idle < REDRAW_SECONDS:
                        continue
                    idle, resized = 0.0, False
                    self._picture.changed.clear()
                    if key is not None:
                        self._press(key)
                    live.update(self.draw(), refresh=True)
        finally:
            for number, handler in before:
                signal.signal(number, handler)
            self._feeds.stop()

    def _press(self, key: str) -> None:
        view = self._view
        if self._pending is not None:
            pending, self._pending, view.question = self._pending, None, ""
            if key.lower() == "y":
                self._act(pending)
            else:
                self._tell("nothing was changed")
            return
        with self._picture.lock:
            jobs = rows(self._picture, view)
            job = self._picture.jobs.get(view.selected) if view.selected is not None else None
            queue = self._the_queue(job)
        match key:
            case "up" | "k":
                self._move(jobs, -1)
            case "down" | "j":
                self._move(jobs, 1)
            case "page-up":
                self._move(jobs, -PAGE)
            case "page-down":
                self._move(jobs, PAGE)
            case "home" | "g":
                self._move(jobs, -len(jobs))
            case "end" | "G":
                self._move(jobs, len(jobs))
            case "f":
                view.finished = not view.finished
            case "w" | "enter":
                view.why = not view.why
            case "tab":
                self._next_queue()
            case "c" if job is not None:
                view.question, self._pending = f"Cancel {job.metadata.name}?", lambda: actions.cancel(self._api, job)
            case "r" if job is not None:
                self._act(lambda: actions.retry(self._api, job))
            case "+" | "=" if job is not None:
                self._act(lambda: actions.move(self._api, job, 1))
            case "-" if job is not None:
                self._act(lambda: actions.move(self._api, job, -1))
            case "p" if queue is not None:
                self._ask_to_pause(queue)

    def _ask_to_pause(self, queue: AnalysisQueue) -> None:
        mode, name = actions.next_mode(queue), queue.metadata.name
        ends = " and end its drain" if queue.spec.mode is QueueMode.DRAINING else ""
        verb = "Pause" if mode is QueueMode.PAUSED else "Resume"
        self._view.question = f"{verb} the queue {name}{ends}?"
        self._pending = lambda: actions.pause(self._api, queue, mode)

    def _act(self, action: Callable[[], str]) -> None:
        self._tell(action())
        with self._picture.lock:
            self._picture.forget_views()

    def _tell(self, message: str) -> None:
        self._view.message, self._view.said_at = message, self._feeds.now()

    def _the_queue(self, job: AnalysisJob | None) -> AnalysisQueue | None:
        """The queue that is chosen, else the selected job's, else the only one."""
        queues = self._picture.queues
        if self._view.queue is not None:
            return queues.get(self._view.queue)
        if job is not None and (own := self._picture.queue_of(job)) is not None:
            return own
        return next(iter(queues.values())) if len(queues) == 1 else None

    def _move(self, jobs: list[AnalysisJob], by: int) -> None:
        keys = [(job.metadata.namespace, job.metadata.name) for job in jobs]
        if not keys:
            return
        selected = self._view.selected
        place = keys.index(selected) if selected in keys else 0
        self._view.selected = keys[max(0, min(len(keys) - 1, place + by))]

    def _next_queue(self) -> None:
        choices = [None, *sorted(self._picture.queues)]
        place = choices.index(self._view.queue) if self._view.queue in choices else 0
        self._view.queue = choices[(place + 1) % len(choices)]


def once(session: Session, picture: Picture, feeds: Feeds, console: Console, seconds: float) -> None:
    """One frame, once everything is read. Raises Problem."""
    import time

    deadline = time.monotonic() + seconds
    while len(picture.loaded) < 2:
        if picture.failed is not None:
            raise picture.failed
        if time.monotonic() > deadline:
            raise Unreachable(f"the API server did not answer within {seconds:g} s")
        picture.changed.wait(0.1)
        picture.changed.clear()
    if picture.failed is not None:
        raise picture.failed
    console.print(Screen(session, picture, feeds, console).draw())
    feeds.stop()
