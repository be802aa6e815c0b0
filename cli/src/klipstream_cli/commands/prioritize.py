"""Change the priority of jobs; those that wait move to their new place.

Examples:

  kubectl analysis prioritize talk URGENT
  kubectl analysis prioritize --selector team=live --to HIGH
"""

from typing import Annotated, Any

import typer

from klipstream_cli.changing import NothingToDo, change_all, confirmed, named
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.options import FieldSelectorOption, Level, SelectorOption, YesOption
from klipstream_cli.resources import FINISHED
from klipstream_cli.session import current


def command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...] PRIORITY", help="AnalysisJobs, and the priority last.")
    ] = None,
    to: Annotated[
        Level | None, typer.Option("--to", case_sensitive=False, help="The priority, with selectors.")
    ] = None,
    selector: SelectorOption = None,
    field_selector: FieldSelectorOption = None,
    yes: YesOption = False,
) -> int:
    """Change the priority of jobs."""
    session = current()
    asked = list(names or [])
    if to is None:
        if not asked or asked[-1].upper() not in Level.__members__:
            raise Problem(f"give a priority last: {', '.join(Level)}", Exit.USAGE,
                          "For example: kubectl analysis prioritize talk URGENT")  # fmt: skip
        to = Level(asked.pop().upper())
    level = to
    chosen = named(session, asked, selector, field_selector, lambda job: phase_of(job) not in FINISHED)
    if not asked and chosen:
        confirmed(f"Set {len(chosen)} jobs in the namespace {session.namespace} to {level}?", yes)

    def decide(job: dict[str, Any]) -> dict[str, Any]:
        if phase_of(job) in FINISHED:
            raise NothingToDo(f"it is {phase_of(job)}, so its priority changes nothing")
        return {"priority": level.value}

    return change_all(session, chosen, f"is {level}", decide).code
