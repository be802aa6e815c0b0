"""Changes of jobs by name or selector, each decided on what the API server holds now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from klipstream_cli.errors import ApiProblem, Conflict, Exit, Forbidden, Problem
from klipstream_cli.printing import note, say
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import Session

Job = dict[str, Any]
Change = Callable[[Job], dict[str, Any] | None]
TRIES = 5


class NothingToDo(Exception):
    """The job is as it is to be, or cannot be changed so; the message says which."""


def change(session: Session, namespace: str, name: str, decide: Change) -> Job:
    """Change the spec of a job by what `decide` makes of it now; decided again when somebody else was faster.

    Raises NothingToDo as `decide` does, and Problem.
    """
    for left in reversed(range(TRIES)):
        job = session.api.get(ANALYSIS_JOBS, namespace, name)
        spec = decide(job)
        body = {"metadata": {"resourceVersion": job["metadata"]["resourceVersion"]}, "spec": spec}
        try:
            return session.api.patch(ANALYSIS_JOBS, namespace, name, body)
        except Conflict:
            if not left:
                raise
    raise AssertionError("the last round raises or returns")


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of several jobs: the exit code of the worst, and which of them were changed."""

    code: int
    names: list[str]

    def worse(self, code: int) -> int:
        """The exit code with what came of waiting: the change's own problem first, as it was first."""
        return self.code or code


def change_all(session: Session, names: Sequence[str], done: str, decide: Change) -> Changed:
    """Change several jobs, saying what became of each; one that is refused does not keep the others from it.

    Raises Problem where the others cannot succeed either, and for the only one.
    """
    code, changed = Exit.OK, list[str]()
    for name in names:
        try:
            change(session, session.namespace, name, decide)
        except NothingToDo as nothing:
            note(f"{name}: {nothing}")
            code = Exit.REFUSED
        except ApiProblem as problem:
            if len(names) == 1 or isinstance(problem, Forbidden) or problem.status >= 500:
                raise
            note(f"error: {name}: {problem.message}")
            if problem.code is Exit.REFUSED or code is Exit.OK:
                code = problem.code
        else:
            changed.append(name)
            say(f"analysisjob.analysis.klipstream.io/{name} {done}\n")
            sys.stdout.flush()
    return Changed(int(code), changed)


def named(session: Session, names: Sequence[str], selector: str | None, field_selector: str | None,
          keep: Callable[[Job], bool]) -> list[str]:  # fmt: skip
    """The names given, or those of all jobs that the selectors give and `keep` takes. Raises Problem for neither."""
    if names and (selector or field_selector):
        raise Problem("give names or selectors, not both", Exit.USAGE)
    if names:
        return list(dict.fromkeys(names))
    if not selector and not field_selector:
        raise Problem("name at least one job, or give --selector or --field-selector", Exit.USAGE)
    found, _ = session.api.list(
        ANALYSIS_JOBS, session.namespace, label_selector=selector, field_selector=field_selector
    )
    return [str(job["metadata"]["name"]) for job in found if keep(job)]


def confirmed(question: str, yes: bool) -> None:
    """Ask, where a person sits there; Problem where nobody can be asked or the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Problem(f"{question} Nobody can be asked here.", Exit.REFUSED, "Say --yes to confirm.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Problem("nothing was changed", Exit.REFUSED)
