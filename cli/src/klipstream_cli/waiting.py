"""Waiting for jobs to end, with or without showing how they get on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from klipstream_cli.errors import Exit
from klipstream_cli.following import changes
from klipstream_cli.jobs_view import condition, eta, phase_of, progress_of, ran
from klipstream_cli.printing import PHASE_COLOURS, coloured, note, paint, safe, say
from klipstream_cli.resources import ANALYSIS_JOBS, FINISHED
from klipstream_cli.session import Session
from klipstream_cli.times import span

Job = dict[str, Any]
Seen = Callable[[Job], None]


def has_ended(job: Job) -> bool:
    """Whether the job is finished, and no replay of it is asked for that the operator has not acted on."""
    asked = int(job["spec"].get("replay") or 0)
    acted = int(job.get("status", {}).get("observedReplay") or 0)
    return phase_of(job) in FINISHED and not (phase_of(job) == "Failed" and asked > acted)


def wait_finished(session: Session, names: Sequence[str], seconds: float, seen: Seen = lambda _job: None) -> int:
    """Wait until all have ended, saying a line for each that does; the exit code.

    1 where one did not succeed, 3 where one was deleted or is not there, 7 when the time is up. Where names are given
    twice, once.
    """
    open_names, code = dict.fromkeys(names), Exit.OK
    listed = set[str]()
    for kind, job in changes(session.api, ANALYSIS_JOBS, session.namespace, names, seconds=seconds):
        if kind == "LISTED":
            for name in [name for name in open_names if name not in listed]:
                note(f"There is no job {name} any more.")
                code = Exit.NOT_FOUND
                del open_names[name]
            if not open_names:
                return int(code)
            continue
        name = job["metadata"]["name"]
        listed.add(name)
        if name not in open_names:
            continue
        seen(job)
        if kind == "DELETED":
            note(f"{name} was deleted.")
            code = Exit.NOT_FOUND
        elif not has_ended(job):
            continue
        else:
            _say_end(job, session.api.now())
            if phase_of(job) != "Succeeded" and code is Exit.OK:
                code = Exit.FAILED
        del open_names[name]
        if not open_names:
            return int(code)
    note(f"Not finished after {span(seconds)}: {', '.join(open_names)}. They go on.")
    return int(Exit.TIMED_OUT)


def watch_finished(session: Session, names: Sequence[str], seconds: float) -> int:
    """As `wait_finished`, showing each change: bars in a terminal, lines in a pipe."""
    if sys.stdout.isatty():
        from klipstream_cli.bars import Bars

        with Bars(session.api) as bars:
            return wait_finished(session, names, seconds, bars.show)
    last: dict[str, tuple[str, ...]] = {}

    def show(job: Job) -> None:
        line = change_line(job, session.api.now())
        name = job["metadata"]["name"]
        if last.get(name) != line[:4]:
            last[name] = line[:4]
            say(" ".join(filter(None, line)) + "\n")
            sys.stdout.flush()

    return wait_finished(session, names, seconds, show)


def change_line(job: Job, now: datetime) -> tuple[str, ...]:
    """Name, phase, percentage, stage, estimate; the last one alone is no change."""
    progress = progress_of(job)
    percentage = progress.get("percentage")
    left = eta(job, now)
    return (
        job["metadata"]["name"],
        phase_of(job),
        "" if percentage is None else f"{float(percentage):.0f}%",
        safe(str(progress.get("stage") or "")),
        f"({left} left)" if left and phase_of(job) == "Running" else f"({left})" if left else "",
    )


def _say_end(job: Job, now: datetime) -> None:
    phase, status = phase_of(job), job.get("status", {})
    kind = "DeadLettered" if phase == "Failed" else "Finished"
    said = condition(job, kind) or condition(job, "Finished")
    took = ran(job, now)
    text = f"{job['metadata']['name']} {paint(phase, PHASE_COLOURS.get(phase), coloured())}"
    if phase == "Succeeded":
        text += f" after {took}" if took else ""
        text += f": {safe(str(status['resultUrl']))}" if status.get("resultUrl") else ""
    elif said.get("message"):
        text += f": {safe(str(said['message']))}"
    say(text + "\n")
    sys.stdout.flush()
