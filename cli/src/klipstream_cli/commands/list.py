"""List jobs, with their place in the queue and their progress.

Examples:

  kubectl analysis list
  kubectl analysis list -A -o wide
  kubectl analysis list --field-selector status.phase=Failed -o name
  kubectl analysis list --phase Queued --phase Running --queue live
"""

from typing import Annotated

import typer

from klipstream_cli.errors import Exit, Forbidden, Problem
from klipstream_cli.jobs_view import (
    COLOURS,
    HEADER,
    WIDE,
    Job,
    Key,
    key_of,
    phase_of,
    positions,
    queue_of,
    rank,
    row,
    wide,
)
from klipstream_cli.options import (
    FieldSelectorOption,
    NoHeadersOption,
    Output,
    OutputOption,
    QueueOption,
    SelectorOption,
)
from klipstream_cli.printing import note, objects, table
from klipstream_cli.resources import ACTIVE, ANALYSIS_JOBS, FINISHED, WAITING, with_kind
from klipstream_cli.session import Session, current

PHASES = (*WAITING, *ACTIVE, *FINISHED)
ORDER = ("age", "name", "start", "phase")


def command(
    output: OutputOption = Output.TABLE,
    selector: SelectorOption = None,
    field_selector: FieldSelectorOption = None,
    queue: QueueOption = None,
    phase: Annotated[
        list[str] | None, typer.Option("--phase", help="Only jobs in this phase; may be repeated.")
    ] = None,
    sort_by: Annotated[
        str, typer.Option("--sort-by", help=f"{', '.join(ORDER)} (start: the order of starting).")
    ] = "name",
    no_headers: NoHeadersOption = False,
) -> None:
    """List jobs."""
    session = current()
    wanted = _phases(phase or [])
    if sort_by not in ORDER:
        raise Problem(f"--sort-by {sort_by}: use {', '.join(ORDER)}", Exit.USAGE)
    fields = field_selector
    if len(wanted) == 1 and not (fields and "status.phase" in fields):
        fields = ",".join(filter(None, (fields, f"status.phase={wanted[0]}")))
    listed, _ = session.api.list(ANALYSIS_JOBS, session.scope, label_selector=selector, field_selector=fields)
    jobs = [
        job for job in listed
        if (not wanted or phase_of(job) in wanted) and (queue is None or queue_of(job) == queue)
    ]  # fmt: skip
    places = _places(session, listed, selector, fields) if sort_by == "start" or not output.is_document else {}
    jobs = _sorted(jobs, sort_by)
    if output.is_document:
        # A list leaves out what its items are.
        full = [with_kind(job, "AnalysisJob") for job in jobs]
        objects(full, output, "analysisjob.analysis.klipstream.io")
        return
    if not jobs:
        where = "any namespace" if session.scope is None else f"the namespace {session.scope}"
        note(f"No AnalysisJobs found in {where}.")
        return
    _print(session, jobs, places, output, not no_headers)


def _print(session: Session, jobs: list[Job], places: dict[Key, int], output: Output, headers: bool) -> None:
    now = session.api.now()
    spread = session.scope is None
    header = (*(("NAMESPACE",) if spread else ()), *HEADER, *(WIDE if output is Output.WIDE else ()))
    rows = (
        (
            *((job["metadata"]["namespace"],) if spread else ()),
            *row(job, places.get(key_of(job)), now),
            *(wide(job, now) if output is Output.WIDE else ()),
        )
        for job in jobs
    )
    table(header, rows, headers=headers, colours=COLOURS)


def _phases(asked: list[str]) -> list[str]:
    known = {phase.lower(): phase for phase in PHASES}
    names = [name for each in asked for name in each.split(",")]
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise Problem(f"--phase {unknown[0]}: use {', '.join(PHASES)}", Exit.USAGE)
    return [known[name.lower()] for name in names]


def _places(session: Session, listed: list[Job], selector: str | None, fields: str | None) -> dict[Key, int]:
    """Places count all that wait, so those that a selector left out are looked at as well."""
    if selector or fields:
        if not any(phase_of(job) == "Queued" for job in listed):
            return {}
        try:
            listed, _ = session.api.list(ANALYSIS_JOBS, session.scope, field_selector="status.phase=Queued")
        except Forbidden:
            return {}
    return positions(listed, session.api.now())


def _sorted(jobs: list[Job], by: str) -> list[Job]:
    match by:
        case "age":
            return sorted(jobs, key=lambda job: job["metadata"].get("creationTimestamp") or "", reverse=True)
        case "start":
            return sorted(
                jobs, key=lambda job: (PHASES.index(phase_of(job)) if phase_of(job) != "Queued" else 0, rank(job))
            )
        case "phase":
            return sorted(jobs, key=lambda job: (PHASES.index(phase_of(job)), key_of(job)))
    return jobs  # by name, as the API server lists them
