"""Submit videos, from the command line or a file of URLs.

Examples:

  kubectl analysis submit https://example.com/talk.mp4 --priority HIGH --watch
  kubectl analysis submit -f urls.txt --queue batch --param language=de
  kubectl analysis submit https://example.com/talk.mp4 --dry-run
"""

import sys
from typing import Annotated, Any

import typer

from klipstream_cli.errors import ApiProblem, Exit, Forbidden, Problem
from klipstream_cli.options import Output, OutputOption, PriorityOption, QueueOption, WaitOption
from klipstream_cli.printing import note, objects
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import Session, current
from klipstream_cli.submission import NAME, manifest, params_of, urls_of


def command(
    urls: Annotated[
        list[str] | None, typer.Argument(metavar="[URL...]", help="http(s) URLs of videos or streams.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="File with a URL per line; - for standard input.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the job; for one URL only.")] = None,
    priority: PriorityOption = None,
    queue: QueueOption = None,
    type_: Annotated[str | None, typer.Option("--type", help="Kind of analysis, for routing and estimates.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="Parameter for the worker; may be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Label of the job; may be repeated.")
    ] = None,
    video_id: Annotated[str | None, typer.Option("--video-id", help="The platform's id of the video.")] = None,
    not_before: Annotated[
        str | None, typer.Option("--not-before", help="Start no earlier: 2026-01-02T03:04:05Z.")
    ] = None,
    timeout_seconds: Annotated[
        int | None, typer.Option("--timeout-seconds", help="Longest run time of an attempt.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option("--max-retries", help="Retries after the first attempt.")] = None,
    callback: Annotated[
        str | None, typer.Option("--callback", metavar="URL", help="https URL that is told of changes.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Have the server check it, and say when it would start.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended; exit code 1 if one fails.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show progress until all have ended.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Show the log until it has ended; for one URL only.")] = False,
    timeout: WaitOption = 86_400.0,
    output: OutputOption = Output.TABLE,
) -> int:
    """Submit videos."""
    session = current()
    found = urls_of(urls or [], file)
    if len(found) > 1 and (name or video_id or logs):
        raise Problem("--name, --video-id and --logs go with one URL", Exit.USAGE)
    if name is not None and not (NAME.fullmatch(name) and len(name) <= 253):
        raise Problem(f"--name {name!r}: use lower-case letters, digits, dashes and dots", Exit.USAGE)
    if sum((wait, watch, logs)) > 1:
        raise Problem("choose one of --wait, --watch and --logs", Exit.USAGE)
    spec: dict[str, Any] = {
        "priority": priority.value if priority is not None else None,
        "queueName": queue,
        "type": type_,
        "params": params_of(param or []),
        "videoId": video_id,
        "notBefore": not_before,
        "timeoutSeconds": timeout_seconds,
        "maxRetries": max_retries,
        "callback": {"url": callback} if callback else None,
    }
    labels = params_of(label or [])
    bodies = [manifest(url, name, labels, spec) for url in found]
    created, code = _create(session, bodies, dry_run)
    if output.is_document:
        objects(created, output, "analysisjob.analysis.klipstream.io", one=len(created) == 1)
    else:
        done = "created (server dry run)" if dry_run else "created"
        for job in created:
            sys.stdout.write(f"analysisjob.analysis.klipstream.io/{job['metadata']['name']} {done}\n")
        sys.stdout.flush()
    if dry_run and created and not output.is_document:
        from klipstream_cli.dry_run import print_outlook

        print_outlook(session, created[0], len(created))
    names = [job["metadata"]["name"] for job in created]
    if dry_run or not names or not (wait or watch or logs):
        return code
    if logs:
        from klipstream_cli.log_following import follow_job

        return follow_job(session, names[0], timeout) or code
    from klipstream_cli.waiting import wait_finished, watch_finished

    return (watch_finished if watch else wait_finished)(session, names, timeout) or code


def _create(session: Session, bodies: list[dict[str, Any]], dry_run: bool) -> tuple[list[dict[str, Any]], int]:
    """All that the server takes; what it refuses is said, and the others go on. Raises where none can succeed."""
    created, code = [], 0
    for body in bodies:
        try:
            created.append(session.api.create(ANALYSIS_JOBS, session.namespace, body, dry_run=dry_run))
        except ApiProblem as problem:
            if len(bodies) == 1 or isinstance(problem, Forbidden) or problem.code is not Exit.REFUSED:
                if created:
                    note(f"{len(created)} of {len(bodies)} were submitted before this:")
                    for job in created:
                        note(f"  {job['metadata']['name']}")
                raise
            note(f"error: {body['spec']['videoUrl']}: {problem.message}")
            code = int(problem.code)
    return created, code
