"""Everything about a queue: slots, line, estimates, dead letters, conditions, requests.

Examples:

  kubectl analysis queue status
  kubectl analysis queue status live -o json
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from klipstream_cli.administration import the_queue
from klipstream_cli.errors import ApiProblem
from klipstream_cli.models import queue_from, queue_outlook, queues_in
from klipstream_cli.options import Output, OutputOption
from klipstream_cli.outlook_text import start_text
from klipstream_cli.printing import STATE_COLOURS, bar, coloured, objects, paint, safe, say, table
from klipstream_cli.queues_view import mean
from klipstream_cli.resources import ANALYSIS_QUEUES
from klipstream_cli.session import Session, current
from klipstream_cli.times import age, span
from klipstream_queueing.outlook import CAUTIOUS, MEDIAN, QueueOutlook
from klipstream_queueing.runtimes import quantile

SHOWN = 10


def command(
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="The only one, or default, where absent.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Everything about a queue."""
    session = current()
    name = the_queue(session, queue)
    raw = session.api.get(ANALYSIS_QUEUES, session.namespace, name)
    if output.is_document:
        objects([raw], output, "analysisqueue.analysis.klipstream.io", one=True)
        return
    on = coloured()
    for label, value in _facts(raw, session, on):
        say(f"{paint(f'{label:<14}', 'bold', on)}{value}\n")
    try:
        queues = queues_in(session, session.namespace) or []
        view = queue_outlook(session, session.namespace, queue_from(raw), queues)
    except ApiProblem:
        view = None
    if view is not None:
        _line(view, session)
    _groups(raw)
    _operations(raw, session)


def _facts(raw: dict[str, Any], session: Session, on: bool) -> Iterator[tuple[str, str]]:
    spec, status = raw["spec"], raw.get("status", {})
    mode, limit = str(spec.get("mode") or "Running"), int(spec.get("maxConcurrentJobs", 3))
    active, queued, size = (
        int(status.get("active") or 0),
        int(status.get("queued") or 0),
        int(spec.get("maxQueueSize", 100)),
    )
    yield "Queue", f"{raw['metadata']['name']} in {raw['metadata']['namespace']}"
    yield "Mode", paint(mode, STATE_COLOURS.get(mode), on)
    yield "Slots", f"{bar(100 * active / limit if limit else 0, 20)} {active} of {limit} taken"
    yield "Waiting", f"{bar(100 * queued / size if size else 100, 20)} {queued} of {size}"
    yield "Backing off", str(status.get("backingOff") or 0)
    yield "Dead letters", str(status.get("deadLettered") or 0)
    totals = status.get("totals") or {}
    done, failed = int(totals.get("succeeded") or 0), int(totals.get("failed") or 0)
    rate = f", {100 * done / (done + failed):.1f} % succeeded" if done + failed else ""
    yield (
        "Processed",
        f"{done + failed}{rate}; {totals.get('retried') or 0} retries, {totals.get('cancelled') or 0} cancelled",
    )
    if (wait := mean(totals, "waitSeconds", "started")) is not None:
        yield "Mean wait", span(wait)
    for entry in status.get("runTimes") or []:
        runs = sum(entry["buckets"].values())
        usual, late = (span(quantile(entry["buckets"], share)) for share in (MEDIAN, CAUTIOUS))
        yield "Run time", f"{usual} at the median, {late} for 9 in 10 ({entry.get('type') or 'no type'}, {runs} runs)"
    for shortage in status.get("capacity") or []:
        yield (
            "No room",
            f"{safe(str(shortage.get('message') or shortage.get('missing')))}; {shortage.get('tries', 0)} tries",
        )
    for found in status.get("conditions") or []:
        text = f"{found['type']}={found['status']}"
        telling = found.get("reason") and f" {found['reason']}: {safe(str(found.get('message', '')))}"
        yield "Condition", f"{text} for {age(found.get('lastTransitionTime'), session.api.now())}{telling or ''}"


def _line(view: QueueOutlook, session: Session) -> None:
    now = session.api.now()
    rows: list[tuple[str, str, str, str]] = []
    for rank in view.line[:SHOWN]:
        job = view.jobs[rank.uid]
        priority = (job.status.effective_priority or job.spec.priority).value
        rows.append((str(len(rows) + 1), job.metadata.name, priority, start_text(view.of(job), now)))
    if rows:
        say("\nNext to start:\n")
        table(("PLACE", "NAME", "PRIORITY", "START"), rows)
        if len(view.line) > SHOWN:
            say(f"… and {len(view.line) - SHOWN} more\n")


def _groups(raw: dict[str, Any]) -> None:
    groups = raw.get("status", {}).get("deadLetterGroups") or []
    if groups:
        say("\nDead letters (kubectl analysis dlq groups):\n")
        table(("FINGERPRINT", "COUNT", "REASON"),
              [(g["fingerprint"], str(g["count"]), str(g.get("reason", ""))) for g in groups[:SHOWN]])  # fmt: skip


def _operations(raw: dict[str, Any], session: Session) -> None:
    operations = raw.get("status", {}).get("operations") or []
    if operations:
        say("\nRequests:\n")
        now = session.api.now()
        rows = [
            (o["name"], f"{age(o['at'], now)} ago" if o.get("at") else "refused", str(o.get("message", "")))
            for o in operations
        ]
        table(("OPERATION", "WHEN", "WHAT"), rows)
