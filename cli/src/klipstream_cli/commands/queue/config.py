"""Show the limits of a queue, or change them; what runs is never stopped.

Examples:

  kubectl analysis queue config live
  kubectl analysis queue config live --max-concurrent-jobs 5 --retry-delays 30,120,300
"""

from typing import Annotated, Any

import typer

from klipstream_cli.administration import the_queue
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.options import Output, OutputOption
from klipstream_cli.printing import document, objects, say, table
from klipstream_cli.resources import ANALYSIS_QUEUES
from klipstream_cli.session import current

SHOWN = ("mode", "maxConcurrentJobs", "maxQueueSize", "timeoutSeconds", "maxRetries", "retryDelaysSeconds", "accepts",
         "reservedSlots", "aging", "results", "retention", "stall", "cancelGraceSeconds")  # fmt: skip


def command(
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="The only one, or default, where absent.")
    ] = None,
    max_concurrent_jobs: Annotated[int | None, typer.Option("--max-concurrent-jobs", help="Slots.")] = None,
    max_queue_size: Annotated[int | None, typer.Option("--max-queue-size", help="Jobs that may wait.")] = None,
    timeout_seconds: Annotated[
        int | None, typer.Option("--timeout-seconds", help="Longest run time of an attempt.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option("--max-retries", help="Retries after the first attempt.")] = None,
    retry_delays: Annotated[
        str | None, typer.Option("--retry-delays", metavar="S,S,…", help="Seconds before each retry.")
    ] = None,
    stall_seconds: Annotated[
        int | None, typer.Option("--stall-seconds", help="Seconds without progress; 0: off.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show or change limits."""
    session = current()
    name = the_queue(session, queue)
    spec: dict[str, Any] = {
        "maxConcurrentJobs": max_concurrent_jobs,
        "maxQueueSize": max_queue_size,
        "timeoutSeconds": timeout_seconds,
        "maxRetries": max_retries,
        "retryDelaysSeconds": None if retry_delays is None else _seconds(retry_delays),
    }
    changed = {key: value for key, value in spec.items() if value is not None}
    if stall_seconds is not None:
        changed["stall"] = {"noProgressSeconds": stall_seconds or None}
    if changed:
        obj = session.api.patch(ANALYSIS_QUEUES, session.namespace, name, {"spec": changed})
    else:
        obj = session.api.get(ANALYSIS_QUEUES, session.namespace, name)
    if output is Output.NAME:
        objects([obj], output, "analysisqueue.analysis.klipstream.io", one=True)
    elif output.is_document:
        document({key: obj["spec"][key] for key in SHOWN if key in obj["spec"]}, output)
    elif changed:
        say(f"analysisqueue.analysis.klipstream.io/{name} configured\n")
    else:
        table(
            ("SETTING", "VALUE"), [(key, _words(obj["spec"][key])) for key in SHOWN if obj["spec"].get(key) is not None]
        )


def _seconds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise Problem(
            f"--retry-delays {text!r}: write seconds between commas, such as 30,120,300", Exit.USAGE
        ) from None


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_words(inner)}" for key, inner in value.items()) or "default"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
