"""Jobs created one after the other, so that nobody is left in doubt about any of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from klipstream_cli.errors import ApiProblem, Exit, Forbidden, Problem, Unreachable
from klipstream_cli.patience import PATIENCE_SECONDS, is_away, patiently
from klipstream_cli.printing import note, say
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import Session

Job = dict[str, Any]


@dataclass(slots=True)
class Creation:
    """What became of the jobs so far."""

    jobs: list[Job] = field(default_factory=list)
    """Those that exist now, in their order."""
    code: int = 0
    """Of the last one that was refused."""


def create_all(
    session: Session, bodies: list[Job], made: Creation, *, dry_run: bool = False, again: bool = False,
    say: Callable[[Job, str], None] = lambda _job, _done: None,
) -> None:  # fmt: skip
    """Create all that the server takes, into `made`; what it refuses is said, and the others go on.

    With `again`, jobs that exist already are those of an earlier try. Raises Problem where the others cannot succeed
    either: what is in `made` by then exists.
    """
    for body in bodies:
        try:
            job, done = _created(session, body, dry_run, again, answered=bool(made.jobs or made.code))
        except ApiProblem as problem:
            if len(bodies) == 1 or isinstance(problem, Forbidden) or problem.code is not Exit.REFUSED:
                raise
            note(f"error: {body['spec'].get('videoUrl') or body['metadata']['name']}: {problem.message}")
            made.code = int(problem.code)
            continue
        made.jobs.append(job)
        say(job, done)


def _created(session: Session, body: Job, dry_run: bool, again: bool, answered: bool) -> tuple[Job, str]:
    """The job, and whether it was created or exists already.

    A lost answer is no answer: the name tells whether it was carried out. Patience is for a server that has answered.
    """
    name, namespace, lost = body["metadata"]["name"], session.namespace, False

    def send() -> Job:
        nonlocal lost
        try:
            return session.api.create(ANALYSIS_JOBS, namespace, body, dry_run=dry_run)
        except Problem as problem:
            lost = lost or is_away(problem)
            raise

    try:
        return patiently(send, time.monotonic() + (PATIENCE_SECONDS if answered else 0.0)), "created"
    except Unreachable as problem:
        if dry_run:
            raise
        hint = f"{name} may have been submitted or not: kubectl analysis status {name}"
        raise Unreachable(problem.message, f"{problem.hint}\n{hint}".strip()) from problem
    except ApiProblem as problem:
        if problem.reason != "AlreadyExists" or dry_run or not (lost or again):
            raise
        job = patiently(lambda: session.api.get(ANALYSIS_JOBS, namespace, name), time.monotonic() + PATIENCE_SECONDS)
        return job, "created" if lost and not again else "exists already"


def say_created(job: Job, done: str) -> None:
    """A line at once, so that what was done stands there however it goes on."""
    say(f"analysisjob.analysis.klipstream.io/{job['metadata']['name']} {done}".rstrip() + "\n")
    sys.stdout.flush()
