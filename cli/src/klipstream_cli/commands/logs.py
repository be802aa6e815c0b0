"""Logs of a job's worker; with -f across its attempts, until the job has ended.

Of attempts whose pod is gone the archived log is read, where the queue has a results store that is reachable from here.

Examples:

  kubectl analysis logs talk
  kubectl analysis logs talk -f
  kubectl analysis logs talk --attempt 1
  kubectl analysis logs talk --all-attempts --tail 50
"""

from typing import Annotated

import typer

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.log_following import follow_job
from klipstream_cli.log_view import show_attempt
from klipstream_cli.options import JobName, WaitOption
from klipstream_cli.printing import note
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import current


def command(
    name: JobName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended.")] = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="This attempt; the last one where absent.")
    ] = None,
    all_attempts: Annotated[bool, typer.Option("--all-attempts", help="All attempts that are still known.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", min=0, help="Only so many last lines of each.")] = None,
    timeout: WaitOption = 86_400.0,
) -> int:
    """Logs of a job's worker."""
    session = current()
    if attempt is not None and all_attempts:
        raise Problem("give --attempt or --all-attempts", Exit.USAGE)
    job = session.api.get(ANALYSIS_JOBS, session.namespace, name)
    last = int(job.get("status", {}).get("attempt") or 0)
    known = [int(each["attempt"]) for each in job.get("status", {}).get("attempts") or []]
    if follow:
        first = attempt or (min(known, default=1) if all_attempts else None)
        return follow_job(session, name, timeout, tail=tail, first=first)
    if last == 0:
        raise Problem(f"{name} is {phase_of(job)} and has not begun, so there is no log yet", Exit.NOT_FOUND,
                      f"kubectl analysis why {name}, or logs -f to wait for it.")  # fmt: skip
    if attempt is not None and attempt > last:
        raise Problem(f"{name} has begun {last} attempts", Exit.NOT_FOUND)
    chosen = sorted({*known, last}) if all_attempts else [attempt or last]
    shown = 0
    for number in chosen:
        if len(chosen) > 1:
            note(f"--- {name}, attempt {number} ---")
        if show_attempt(session, job, number, tail):
            shown += 1
        elif len(chosen) > 1:
            note(f"Attempt {number} left no log.")
    if not shown:
        gone = f"attempt {chosen[-1]} of {name} left no log: its pod is gone and none was archived"
        raise Problem(gone, Exit.NOT_FOUND, f"How it ended: kubectl analysis status {name}")
    return 0
