"""List dead letters, the latest first.

Examples:

  kubectl analysis dlq list
  kubectl analysis dlq list --fingerprint 8c1f5e6ab0d34f27 -o name
"""

from typing import Annotated

import typer

from klipstream_cli.dead_letters import dead_letters, last_attempt
from klipstream_cli.jobs_view import queue_of
from klipstream_cli.options import NoHeadersOption, Output, OutputOption, QueueOption, SelectorOption
from klipstream_cli.printing import note, objects, table
from klipstream_cli.resources import with_kind
from klipstream_cli.session import current
from klipstream_cli.times import age


def command(
    output: OutputOption = Output.TABLE,
    selector: SelectorOption = None,
    queue: QueueOption = None,
    fingerprint: Annotated[str | None, typer.Option("--fingerprint", help="Only this group.")] = None,
    no_headers: NoHeadersOption = False,
) -> None:
    """List dead letters."""
    session = current()
    jobs = dead_letters(session, session.scope, queue=queue, fingerprint=fingerprint, selector=selector)
    if output.is_document:
        full = [with_kind(job, "AnalysisJob") for job in jobs]
        objects(full, output, "analysisjob.analysis.klipstream.io")
        return
    if not jobs:
        note("No dead letters.")
        return
    now, rows, spread = session.api.now(), [], session.scope is None
    for job in jobs:
        status, last = job.get("status", {}), last_attempt(job)
        rows.append((
            *((job["metadata"]["namespace"],) if spread else ()),
            job["metadata"]["name"], queue_of(job), str(last.get("failureClass") or ""), str(last.get("reason") or ""),
            str(status.get("failureFingerprint") or ""), str(status.get("attempt") or 0),
            age(status.get("finishedAt"), now), str(last.get("message") or "")[: 200 if output is Output.WIDE else 50],
        ))  # fmt: skip
    header = ("NAME", "QUEUE", "CLASS", "REASON", "FINGERPRINT", "ATTEMPTS", "FAILED", "MESSAGE")
    table((*(("NAMESPACE",) if spread else ()), *header), rows, headers=not no_headers)
