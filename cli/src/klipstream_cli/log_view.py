"""Logs of a job's worker, attempt by attempt: from its pod while there is one, else from the archive."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from klipstream_cli.errors import ApiProblem, Exit, Forbidden, NotFound, Problem, Unreachable
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.printing import note
from klipstream_cli.resources import ANALYSIS_JOBS, ATTEMPT_LABEL, FINISHED, JOB_UID_LABEL, PODS, WORKER_CONTAINER
from klipstream_cli.session import Session
from klipstream_cli.waiting import has_ended

Job = dict[str, Any]
POLL_SECONDS = 1.0
FOLLOW_TRIES = 5
"""So often a log is asked for that says nothing new."""


def pod_of(session: Session, job: Job, attempt: int) -> dict[str, Any] | None:
    """The worker pod of an attempt; the newest where an attempt was taken up again after a lack of room."""
    selector = f"{JOB_UID_LABEL}={job['metadata']['uid']},{ATTEMPT_LABEL}={attempt}"
    pods, _ = session.api.list(PODS, job["metadata"]["namespace"], label_selector=selector)
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def has_begun(pod: dict[str, Any]) -> bool:
    """Whether the worker's container runs or ran, so that there is a log."""
    states = pod.get("status", {}).get("containerStatuses") or []
    return any(
        state.get("name") == WORKER_CONTAINER and {"running", "terminated"} & set(state.get("state") or {})
        for state in states
    )


def has_stopped(pod: dict[str, Any] | None) -> bool:
    """Whether the worker's container writes no more."""
    states = [] if pod is None else pod.get("status", {}).get("containerStatuses") or []
    running = any(state.get("name") == WORKER_CONTAINER and "running" in (state.get("state") or {}) for state in states)
    return not running


def pod_log(session: Session, pod: dict[str, Any], *, follow: bool, tail: int | None) -> Iterator[bytes]:
    """Chunks of the worker's log. Raises Problem; a followed log that breaks off raises Unreachable."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    params = {"container": WORKER_CONTAINER}
    if follow:
        params["follow"] = "true"
    if tail is not None:
        params["tailLines"] = str(tail)
    # A connection of its own, since a followed log may say nothing for hours.
    api = session.api.another()
    try:
        yield from api.stream(PODS.path(namespace, name, "log"), params, (PODS, namespace, name),
                              None if follow else 60.0)  # fmt: skip
    finally:
        api.close()


def archived_log(url: str) -> bytes:
    """The log that the operator archived. Raises Problem where this machine cannot read its store."""
    root, found, rest = url.rpartition("/jobs/")
    parts = rest.split("/")
    if not found or len(parts) != 4 or parts[1] != "attempts" or not parts[2].isdigit():
        raise Problem(f"the archived log's URL {url!r} is none of ours", Exit.FAILED)
    try:
        from klipstream_results import ResultStoreError, open_store
    except ImportError:
        raise Problem(f"the log is archived at {url}, and the package to read it is not installed", Exit.FAILED,
                      "pip install 'klipstream-queue[cli,results]'") from None  # fmt: skip
    try:
        return open_store(root).read_result(parts[0], int(parts[2]), parts[3])
    except ResultStoreError as error:
        raise Problem(f"the log is archived at {url}, which cannot be read from here: {error}", Exit.FAILED,
                      "A bucket needs your own credentials; a claim is mounted in the cluster.") from error  # fmt: skip


def write(chunk: bytes) -> None:
    """To standard output as it is, at once."""
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def show_attempt(session: Session, job: Job, attempt: int, *, follow: bool, tail: int | None) -> bool:
    """Write the log of an attempt; whether there was one. With `follow`: until its container ends."""
    pod = pod_of(session, job, attempt)
    if pod is not None and has_begun(pod):
        try:
            for chunk in pod_log(session, pod, follow=follow, tail=tail):
                write(chunk)
            return True
        except NotFound:
            pass  # it went away in between: the archive may have it
        except Forbidden:
            raise
        except ApiProblem as problem:
            note(f"The log of attempt {attempt} cannot be read from its node: {problem.message}")
    entries: list[dict[str, Any]] = job.get("status", {}).get("attempts") or []
    entry = next((each for each in entries if each.get("attempt") == attempt), {})
    if not entry.get("logUrl"):
        return False
    content = archived_log(str(entry["logUrl"]))
    lines = content.splitlines(keepends=True)
    write(b"".join(lines[-tail:]) if tail is not None and tail > 0 else b"" if tail == 0 else content)
    return True


def follow_job(
    session: Session, name: str, seconds: float, *, tail: int | None = None, first: int | None = None
) -> int:
    """Write the log of a job's attempts, one after the other, until it has ended; the exit code that follows from it.

    Begins with the current attempt, or with `first`. A connection that breaks off is taken up again after what was
    written; lines of the moment in which it broke may come twice.
    """
    deadline = time.monotonic() + seconds
    api = session.api
    job = api.get(ANALYSIS_JOBS, session.namespace, name)
    attempt = first or max(1, int(job.get("status", {}).get("attempt") or 0))
    told = said_waiting = False
    while time.monotonic() < deadline:
        current = int(job.get("status", {}).get("attempt") or 0)
        if current >= attempt:
            if not told:
                note(f"--- {name}, attempt {attempt} ---")
                told = True
            if _followed(session, job, attempt, tail):
                tail = None
                job = _after(session, name, job, attempt, deadline)
                if has_ended(job) and int(job["status"].get("attempt") or 0) <= attempt:
                    return _ended(job)
                attempt, told, said_waiting = attempt + 1, False, False
                continue
            if current > attempt:
                note(f"Attempt {attempt} left no log.")
                attempt, told = attempt + 1, False
                continue
        if has_ended(job):
            if current >= attempt:
                note(f"Attempt {attempt} left no log.")
            return _ended(job)
        if not said_waiting and current < attempt:
            note(f"{name} is {phase_of(job)}; waiting for attempt {attempt}.")
            said_waiting = True
        time.sleep(POLL_SECONDS)
        job = api.get(ANALYSIS_JOBS, session.namespace, name)
    note(f"{name} has not ended in time; it goes on.")
    return int(Exit.TIMED_OUT)


def _followed(session: Session, job: Job, attempt: int, tail: int | None) -> bool:
    """Follow one attempt to the end of its container, over broken connections; whether there was a log.

    A node that goes away may end a log as if it were complete, so the container is asked as well.
    """
    written, tries = 0, FOLLOW_TRIES
    while True:
        pod = pod_of(session, job, attempt)
        if pod is None or not has_begun(pod):
            return show_attempt(session, job, attempt, follow=False, tail=tail) if not written else True
        skip, before = written, written
        broken: Unreachable | None = None
        try:
            for chunk in pod_log(session, pod, follow=True, tail=tail):
                fresh = chunk[skip:] if skip < len(chunk) else b""
                skip = max(0, skip - len(chunk))
                write(fresh)
                written += len(fresh)
        except Unreachable as problem:
            broken = problem
        except NotFound:
            return show_attempt(session, job, attempt, follow=False, tail=tail) if not written else True
        if broken is None and has_stopped(pod_of(session, job, attempt)):
            return True
        tries = FOLLOW_TRIES if written > before else tries - 1
        if not tries:
            if broken is not None:
                raise broken
            return True
        if broken is not None:
            note(f"The log broke off ({broken.message}); taking it up again.")
            if tail is not None:  # what tail lines are is another thing now
                tail, written = 0, 0
        time.sleep(POLL_SECONDS)


def _after(session: Session, name: str, job: Job, attempt: int, deadline: float) -> Job:
    """The job once its status says what became of the attempt."""
    while time.monotonic() < deadline:
        job = session.api.get(ANALYSIS_JOBS, session.namespace, name)
        status = job.get("status", {})
        over = has_ended(job) or int(status.get("attempt") or 0) > attempt
        if over or phase_of(job) in ("BackingOff", "Queued"):
            return job
        time.sleep(POLL_SECONDS / 2)
    return job


def _ended(job: Job) -> int:
    phase = phase_of(job)
    note(f"--- {job['metadata']['name']} {phase} ---")
    return int(Exit.OK if phase == "Succeeded" or phase not in FINISHED else Exit.FAILED)
