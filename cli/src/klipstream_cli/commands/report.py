"""Throughput, success rate, waits and run times of what ended lately; also as an HTML page.

It counts jobs that are still kept (by default seven days after success, thirty after failure).

Examples:

  kubectl analysis report --since 7d
  kubectl analysis report -A --html report.html
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.figures import Report, report
from klipstream_cli.jobs_view import queue_of
from klipstream_cli.options import Output, OutputOption, QueueOption, SelectorOption, span_value
from klipstream_cli.printing import document, say, table
from klipstream_cli.report_html import STAGE_COLUMNS, page, stage_rows
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import current
from klipstream_cli.times import span

BARS = " ▁▂▃▄▅▆▇█"


def command(
    since: Annotated[
        float, typer.Option("--since", parser=span_value, metavar="SPAN", help="How far back: 24h, 7d.")
    ] = 86_400.0,
    queue: QueueOption = None,
    selector: SelectorOption = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write an HTML page; - for standard output.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Figures of what ended lately."""
    session = current()
    if since <= 0 or output is Output.NAME:
        raise Problem("--since needs a span of time, and -o table, wide, json or yaml", Exit.USAGE)
    jobs, _ = session.api.list(ANALYSIS_JOBS, session.scope, label_selector=selector)
    now = session.api.now()
    found = report([job for job in jobs if queue in (None, queue_of(job))], now - timedelta(seconds=since), now)
    scope = "all namespaces" if session.scope is None else f"namespace {session.scope}"
    title = f"Analyses in {scope}" + (f", queue {queue}" if queue else "")
    if html is not None:
        _write_html(html, page(found, title))
    if output.is_document:
        document(_plain(asdict(found)), output)
    elif html != "-":
        _print(found, title, since)


def _write_html(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", Exit.USAGE) from error
    sys.stderr.write(f"Wrote {path}.\n")


def _print(found: Report, title: str, since: float) -> None:
    out = say
    out(f"{title}, the last {span(since)}\n\n")
    rate = "–" if found.success_percent is None else f"{found.success_percent:.1f} %"
    ended = ", ".join(f"{count} {phase}" for phase, count in found.ended.items()) or "nothing"
    out(f"Submitted     {found.submitted}\nEnded         {ended}\nSuccess rate  {rate}\n")
    out(f"Throughput    {found.per_hour:.2f} an hour   {_sparkline(found)}\n")
    out(f"Attempts      {found.attempts}, {found.retried} of them retries\n")
    if found.turnarounds is not None:
        out(f"Turnaround    {span(found.turnarounds.p50)} at the median, {span(found.turnarounds.p90)} for 9 in 10\n")
    for heading, first, spreads in (("Waits", "PRIORITY", found.waits), ("Run times", "TYPE", found.runs)):
        if spreads:
            out(f"\n{heading}\n")
            rows = [(k, str(s.count), span(s.p50), span(s.p90), span(s.most)) for k, s in spreads.items()]
            table((first, "COUNT", "MEDIAN", "9-IN-10", "LONGEST"), rows)
    if found.failures:
        out("\nFailed attempts\n")
        table(("CLASS AND REASON", "COUNT"), [(key, str(count)) for key, count in found.failures.items()])
    if found.stages:
        out("\nStages, as workers measured them\n")
        table([name.replace(" ", "-").upper() for name in STAGE_COLUMNS], list(stage_rows(found)))


def _sparkline(found: Report) -> str:
    counts = [good + bad for _, good, bad in found.bins]
    most = max(counts, default=0)
    if not most or (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return ""
    return "".join(BARS[-(-8 * count // most)] for count in counts)


def _plain(value: Any) -> Any:
    """Moments as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else value
