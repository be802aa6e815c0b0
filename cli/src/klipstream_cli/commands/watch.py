"""Follow jobs until they are finished: bars in a terminal, a line per change in a pipe.

Without names it follows all unfinished jobs of the namespace. The exit code is 0 if all succeeded.

Examples:

  kubectl analysis watch talk
  kubectl analysis watch --timeout 2h
"""

from typing import Annotated

import typer

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.jobs_view import phase_of
from klipstream_cli.options import FieldSelectorOption, SelectorOption, WaitOption
from klipstream_cli.printing import note
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import current
from klipstream_cli.waiting import has_ended, watch_finished

DAY_SECONDS = 86_400.0


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="AnalysisJobs.")] = None,
    selector: SelectorOption = None,
    field_selector: FieldSelectorOption = None,
    timeout: WaitOption = DAY_SECONDS,
) -> int:
    """Follow jobs."""
    session = current()
    chosen = list(dict.fromkeys(names or []))
    if chosen and (selector or field_selector):
        raise Problem("give names or selectors, not both", Exit.USAGE)
    if chosen:
        for name in chosen:
            session.api.get(ANALYSIS_JOBS, session.namespace, name)  # NotFound now, and not never
    else:
        found, _ = session.api.list(
            ANALYSIS_JOBS, session.namespace, label_selector=selector, field_selector=field_selector
        )
        chosen = [job["metadata"]["name"] for job in sorted(found, key=phase_of) if not has_ended(job)]
    if not chosen:
        note("Nothing to watch: no job of the namespace is unfinished.")
        return 0
    return watch_finished(session, chosen, timeout)
