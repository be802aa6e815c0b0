"""A dead letter in full, or a whole group by its fingerprint.

Examples:

  kubectl analysis dlq show talk
  kubectl analysis dlq show 8c1f5e6ab0d34f27
"""

from typing import Annotated

import typer

from klipstream_cli.dead_letters import dead_letters, is_dead, last_attempt
from klipstream_cli.errors import Exit, NotFound, Problem
from klipstream_cli.jobs_view import phase_of, queue_of
from klipstream_cli.options import Output, OutputOption
from klipstream_cli.printing import objects, safe, say, table
from klipstream_cli.resources import ANALYSIS_JOBS, with_kind
from klipstream_cli.session import current
from klipstream_cli.times import age


def command(
    which: Annotated[str, typer.Argument(metavar="NAME|FINGERPRINT", help="AnalysisJob, or a group's fingerprint.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """A dead letter, or a group, in full."""
    session = current()
    group = dead_letters(session, session.namespace, fingerprint=which)
    if not group:
        try:
            job = session.api.get(ANALYSIS_JOBS, session.namespace, which)
        except NotFound:
            raise Problem(f"there is no dead letter and no group {which!r} in the namespace {session.namespace}",
                          Exit.NOT_FOUND, "kubectl analysis dlq groups lists them.") from None  # fmt: skip
        if not is_dead(job):
            raise Problem(f"{which} is {phase_of(job)} and no dead letter", Exit.REFUSED)
        from klipstream_cli.commands.status import command as status

        status(which, output)
        return
    if output.is_document:
        full = [with_kind(job, "AnalysisJob") for job in group]
        objects(full, output, "analysisjob.analysis.klipstream.io")
        return
    last, now = last_attempt(group[0]), session.api.now()
    say(f"{len(group)} dead letters failed alike ({which})\n")
    say(
        f"{last.get('failureClass', '')} {last.get('reason', '')}: {safe(str(last.get('message') or 'no message'))}\n\n"
    )
    rows = [
        (job["metadata"]["name"], queue_of(job), str(job["status"].get("attempt") or 0),
         f"{age(job['status'].get('finishedAt'), now)} ago", str(last_attempt(job).get("logUrl") or ""))
        for job in group
    ]  # fmt: skip
    table(("NAME", "QUEUE", "ATTEMPTS", "FAILED", "LOG"), rows)
    say(f"\n→ kubectl analysis dlq replay {which}    # one goes first, the others follow if it succeeds\n")
