"""Run failed jobs again; they take a new place at the end of their priority.

Examples:

  kubectl analysis retry talk
  kubectl analysis retry talk --timeout-seconds 7200 --watch
  kubectl analysis retry --failed --yes
"""

from typing import Annotated

import typer

from klipstream_cli.changing import change_all, confirmed, named
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.options import FieldSelectorOption, SelectorOption, WaitOption, YesOption
from klipstream_cli.replaying import replayed
from klipstream_cli.session import current


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="AnalysisJobs.")] = None,
    selector: SelectorOption = None,
    field_selector: FieldSelectorOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed jobs of the namespace.")] = False,
    timeout_seconds: Annotated[int | None, typer.Option("--timeout-seconds", help="Another time limit.")] = None,
    max_retries: Annotated[int | None, typer.Option("--max-retries", help="Another number of retries.")] = None,
    yes: YesOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until they have ended; exit code 1 if one fails.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show progress until they have ended.")] = False,
    timeout: WaitOption = 3600.0,
) -> int:
    """Run failed jobs again."""
    session = current()
    if failed:
        field_selector = ",".join(filter(None, (field_selector, "status.phase=Failed")))
    chosen = named(session, names or [], selector, field_selector, lambda job: phase_of(job) == "Failed")
    if not names and chosen:
        confirmed(f"Run {len(chosen)} failed jobs of the namespace {session.namespace} again?", yes)
    changes = {"timeoutSeconds": timeout_seconds, "maxRetries": max_retries}
    extra = {key: value for key, value in changes.items() if value is not None}
    changed = change_all(session, chosen, "runs again", lambda job: replayed(job) | extra)
    if (wait or watch) and changed.names:
        from klipstream_cli.waiting import wait_finished, watch_finished

        return changed.worse((watch_finished if watch else wait_finished)(session, changed.names, timeout))
    return changed.code
