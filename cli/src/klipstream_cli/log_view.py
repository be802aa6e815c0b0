"""Logs of a job's worker, attempt by attempt: from its pod while there is one, else from the archive."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from klipstream_cli.errors import ApiProblem, Exit, Forbidden, NotFound, Problem
from klipstream_cli.printing import note
from klipstream_cli.resources import ATTEMPT_LABEL, JOB_UID_LABEL, PODS, WORKER_CONTAINER
from klipstream_cli.session import Session

Job = dict[str, Any]
READ_SECONDS = 60.0
"""How long reading a log that is not followed may take at its longest silence."""


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


def pod_log(session: Session, pod: dict[str, Any], params: dict[str, str], deadline: float) -> Iterator[bytes]:
    """Chunks of the worker's log. Raises Problem; Unreachable where it breaks off, and at the deadline."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    # A connection of its own, since a followed log may say nothing for hours.
    api = session.api.another()
    try:
        yield from api.stream(PODS.path(namespace, name, "log"), {"container": WORKER_CONTAINER} | params,
                              (PODS, namespace, name), deadline)  # fmt: skip
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


def show_attempt(session: Session, job: Job, attempt: int, tail: int | None) -> bool:
    """Write the log of an attempt as it is now; whether there was one."""
    pod = pod_of(session, job, attempt)
    if pod is not None and has_begun(pod):
        params = {} if tail is None else {"tailLines": str(tail)}
        try:
            for chunk in pod_log(session, pod, params, time.monotonic() + READ_SECONDS):
                write(chunk)
            return True
        except NotFound:
            pass  # it went away in between: the archive may have it
        except Forbidden:
            raise
        except ApiProblem as problem:
            note(f"The log of attempt {attempt} cannot be read from its node: {problem.message}")
    return show_archived(job, attempt, tail)


def show_archived(job: Job, attempt: int, tail: int | None) -> bool:
    """Write the log that the operator archived of an attempt; whether it has. Raises Problem."""
    entries: list[dict[str, Any]] = job.get("status", {}).get("attempts") or []
    entry = next((each for each in entries if each.get("attempt") == attempt), {})
    if not entry.get("logUrl"):
        return False
    content = archived_log(str(entry["logUrl"]))
    lines = content.splitlines(keepends=True)
    write(b"".join(lines[-tail:]) if tail is not None and tail > 0 else b"" if tail == 0 else content)
    return True
