"""Logs of a job as they are written, attempt after attempt, over broken connections and restarts of the API server."""

from __future__ import annotations

import time
from typing import Any

from klipstream_cli.errors import Exit, NotFound, Problem
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.log_lines import Lines
from klipstream_cli.log_view import has_begun, has_stopped, pod_log, pod_of, show_archived, write
from klipstream_cli.patience import LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS, is_away, patiently
from klipstream_cli.printing import note
from klipstream_cli.resources import ANALYSIS_JOBS, FINISHED
from klipstream_cli.session import Session
from klipstream_cli.waiting import has_ended

Job = dict[str, Any]
POLL_SECONDS = 1.0
QUIET_TRIES = 5
"""So often a log that ends while its container seems to run is asked for what is new."""


def follow_job(
    session: Session, name: str, seconds: float, *, tail: int | None = None, first: int | None = None
) -> int:
    """Write the log of a job's attempts, one after the other, until it has ended; the exit code that follows from it.

    Begins with the current attempt, or with `first`. A log that breaks off is taken up again after the last line that
    was written. 7 when the time is up, in the middle of a log too. Raises Unreachable once the API server has been away
    for a minute, and at once where it never answered.
    """
    deadline = time.monotonic() + seconds
    job = session.api.get(ANALYSIS_JOBS, session.namespace, name)
    try:
        code = _Following(session, job, deadline).run(first, tail)
    except Problem as problem:
        if not is_away(problem) or time.monotonic() < deadline:
            raise
        code = None
    if code is None:
        note(f"{name} has not ended in time; it goes on.")
        return int(Exit.TIMED_OUT)
    return int(code)


class _Following:
    """One job, until a deadline."""

    def __init__(self, session: Session, job: Job, deadline: float) -> None:
        self._session, self._job, self._deadline = session, job, deadline
        self._name = str(job["metadata"]["name"])

    def run(self, first: int | None, tail: int | None) -> Exit | None:
        """None when the time is up."""
        attempt = first or max(1, self._current)
        told = said_waiting = False
        while self._left > 0:
            if self._current >= attempt:
                if not told:
                    note(f"--- {self._name}, attempt {attempt} ---")
                    told = True
                if self._followed(attempt, tail):
                    tail = None
                    self._await_verdict(attempt)
                    if has_ended(self._job) and self._current <= attempt:
                        return self._ended()
                    attempt, told, said_waiting = attempt + 1, False, False
                    continue
                if self._current > attempt:
                    note(f"Attempt {attempt} left no log.")
                    attempt, told = attempt + 1, False
                    continue
            if has_ended(self._job):
                if self._current >= attempt:
                    note(f"Attempt {attempt} left no log.")
                return self._ended()
            if not said_waiting and self._current < attempt:
                note(f"{self._name} is {phase_of(self._job)}; waiting for attempt {attempt}.")
                said_waiting = True
            self._sleep(POLL_SECONDS)
            self._look()
        return None

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    @property
    def _current(self) -> int:
        return int(self._job.get("status", {}).get("attempt") or 0)

    def _sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._left)))

    def _look(self) -> None:
        api, namespace = self._session.api, self._session.namespace
        self._job = patiently(lambda: api.get(ANALYSIS_JOBS, namespace, self._name), self._deadline)

    def _pod(self, attempt: int) -> dict[str, Any] | None:
        return patiently(lambda: pod_of(self._session, self._job, attempt), self._deadline)

    def _followed(self, attempt: int, tail: int | None) -> bool:
        """Follow one attempt to the end of its container, over broken connections; whether there was a log.

        A node that goes away may end a log as if it were complete, so the container is asked as well.
        """
        lines, tries, pause, broken_since = Lines(), QUIET_TRIES, POLL_SECONDS, None
        params = {"follow": "true", "timestamps": "true"} | ({} if tail is None else {"tailLines": str(tail)})
        while self._left > 0:
            pod = self._pod(attempt)
            if pod is None or not has_begun(pod):
                return lines.seen or show_archived(self._job, attempt, tail)
            began, news, broken = time.monotonic(), False, None
            try:
                for chunk in pod_log(self._session, pod, params, self._deadline):
                    text = lines.take(chunk)
                    news = news or bool(text)
                    write(text)
                write(lines.end())
            except NotFound:
                return lines.seen or show_archived(self._job, attempt, tail)
            except Problem as problem:
                if not is_away(problem):
                    raise
                broken = problem
            if self._left <= 0:
                break
            now = time.monotonic()
            if news or now - began > LONGEST_PAUSE_SECONDS:  # it worked, whether anything was said or not
                tries, pause, broken_since = QUIET_TRIES, POLL_SECONDS, None
            if broken is None:
                tries -= 1
                if not tries or has_stopped(self._pod(attempt)):
                    return True
            else:
                broken_since = broken_since or now
                if now - broken_since > PATIENCE_SECONDS:
                    raise broken
                note(f"The log broke off ({broken.message}); taking it up again.")
                self._look()
                if self._current > attempt:
                    note(f"The rest of the log of attempt {attempt} cannot be read.")
                    return True
            since = lines.resume()
            if since is not None:  # until a line was seen, the last lines are still those that are asked for
                params.pop("tailLines", None)
                params["sinceTime"] = since
            self._sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        return True

    def _await_verdict(self, attempt: int) -> None:
        """Until the job's status says what became of the attempt."""
        while self._left > 0:
            self._look()
            if has_ended(self._job) or self._current > attempt or phase_of(self._job) in ("BackingOff", "Queued"):
                return
            self._sleep(POLL_SECONDS / 2)

    def _ended(self) -> Exit:
        phase = phase_of(self._job)
        note(f"--- {self._name} {phase} ---")
        return Exit.OK if phase == "Succeeded" or phase not in FINISHED else Exit.FAILED
