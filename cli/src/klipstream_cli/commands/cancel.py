"""Cancel jobs, in whatever phase they are; it cannot be taken back.

Examples:

  kubectl analysis cancel talk interview
  kubectl analysis cancel --field-selector status.phase=Queued --yes
"""

from typing import Annotated, Any

import typer

from klipstream_cli.changing import NothingToDo, change_all, confirmed, named
from klipstream_cli.errors import Exit
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.options import FieldSelectorOption, SelectorOption, WaitOption, YesOption
from klipstream_cli.resources import FINISHED
from klipstream_cli.session import current


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="AnalysisJobs.")] = None,
    selector: SelectorOption = None,
    field_selector: FieldSelectorOption = None,
    yes: YesOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until they have ended.")] = False,
    timeout: WaitOption = 300.0,
) -> int:
    """Cancel jobs."""
    session = current()
    chosen = named(session, names or [], selector, field_selector, lambda job: phase_of(job) not in FINISHED)
    if not names and chosen:
        confirmed(f"Cancel {len(chosen)} jobs in the namespace {session.namespace}?", yes)
    changed = change_all(session, chosen, "is being cancelled", _cancel)
    if wait and changed.names:
        from klipstream_cli.waiting import wait_finished

        waited = wait_finished(session, changed.names, timeout)
        # Cancelled is what was asked for, and who is gone is not there to go on.
        return changed.worse(waited if waited == Exit.TIMED_OUT else Exit.OK)
    return changed.code


def _cancel(job: dict[str, Any]) -> dict[str, Any]:
    if phase_of(job) in FINISHED:
        raise NothingToDo(f"it is {phase_of(job)} already")
    return {"cancel": True}
