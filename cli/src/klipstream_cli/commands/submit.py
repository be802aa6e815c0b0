"""Submit videos, from the command line or a file of URLs.

Examples:

  kubectl analysis submit https://example.com/talk.mp4 --priority HIGH --watch
  kubectl analysis submit -f urls.txt --queue batch --param language=de --batch monday
  kubectl analysis submit https://example.com/talk.mp4 --dry-run
"""

from typing import Annotated, Any

import typer

from klipstream_cli.creating import Creation, create_all, say_created
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.options import Output, OutputOption, PriorityOption, QueueOption, WaitOption
from klipstream_cli.printing import note, objects
from klipstream_cli.session import current
from klipstream_cli.submission import NAME, manifest, names_of, new_batch, params_of, secret_key_of, urls_of


def command(
    urls: Annotated[
        list[str] | None, typer.Argument(metavar="[URL...]", help="http(s) URLs of videos or streams.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="File with a URL per line; - for standard input.")
    ] = None,
    url_from: Annotated[
        str | None,
        typer.Option("--url-from", metavar="SECRET/KEY", help="The URL is in a Secret, such as a pre-signed one."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the job; for one URL only.")] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="WORD", help="Submitted again as the same batch, jobs that exist stay."),
    ] = None,
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
    if url_from is not None and (urls or file is not None):
        raise Problem("give URLs or --url-from", Exit.USAGE)
    sources: list[dict[str, Any]]
    if url_from is not None:
        found, sources = [url_from], [{"videoUrlFrom": secret_key_of(url_from)}]
    else:
        found = urls_of(urls or [], file)
        sources = [{"videoUrl": url} for url in found]
    if len(found) > 1 and (name or video_id or logs):
        raise Problem("--name, --video-id and --logs go with one URL", Exit.USAGE)
    if name is not None and batch is not None:
        raise Problem("give --name or --batch", Exit.USAGE)
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
    word = batch or new_batch()
    job_names = names_of(found, word) if name is None else [name]
    bodies = [manifest(own, labels, source | spec) for own, source in zip(job_names, sources, strict=True)]
    made = Creation()

    def say(job: dict[str, Any], done: str) -> None:
        if not output.is_document:
            say_created(job, f"{done} (server dry run)" if dry_run else done)
        elif output is Output.NAME:
            say_created(job, "")

    complete = False
    try:
        create_all(session, bodies, made, dry_run=dry_run, again=batch is not None, say=say)
        complete = True
    finally:
        if output in (Output.JSON, Output.YAML) and (made.jobs or complete):
            objects(made.jobs, output, "analysisjob.analysis.klipstream.io", one=len(bodies) == len(made.jobs) == 1)
        if not complete and len(bodies) > 1 and not dry_run:
            note(f"{len(made.jobs)} of {len(bodies)} were submitted. The same command with --batch {word} goes on.")
    created, code = made.jobs, made.code
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
