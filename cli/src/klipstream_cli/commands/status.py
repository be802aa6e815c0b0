"""Everything about a job: progress, estimate, attempts, conditions, and what to do next.

Examples:

  kubectl analysis status talk
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from klipstream_cli.errors import ApiProblem
from klipstream_cli.jobs_view import condition, phase_of, priority_of, progress_of, ran, waited
from klipstream_cli.options import JobName, Output, OutputOption
from klipstream_cli.printing import PHASE_COLOURS, PRIORITY_COLOURS, bar, coloured, objects, paint, safe, say, table
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import Session, current
from klipstream_cli.times import age, clock, moment, span


def command(name: JobName, output: OutputOption = Output.TABLE) -> None:
    """Everything about a job."""
    session = current()
    job = session.api.get(ANALYSIS_JOBS, session.namespace, name)
    if output.is_document:
        objects([job], output, "analysisjob.analysis.klipstream.io", one=True)
        return
    on = coloured()
    for label, value in _facts(session, job, on):
        if value:
            say(f"{paint(f'{label:<12}', 'bold', on)}{value}\n")
    _attempts(job, session)
    for step in _next_steps(job):
        say(f"{paint('→', 'cyan', on)} {step}\n")


def _facts(session: Session, job: dict[str, Any], on: bool) -> Iterator[tuple[str, str]]:
    now, spec, status = session.api.now(), job["spec"], job.get("status", {})
    phase, priority = phase_of(job), priority_of(job)
    yield "Job", f"{job['metadata']['name']} in {job['metadata']['namespace']}"
    yield "Id", str(spec.get("jobId") or job["metadata"]["uid"])
    yield "Video", safe(str(spec.get("videoUrl") or "(from a Secret)"))
    yield "Phase", paint(phase, PHASE_COLOURS.get(phase), on)
    raised = f" (raised from {spec.get('priority')} by waiting)" if priority != spec.get("priority", "NORMAL") else ""
    yield "Priority", paint(priority, PRIORITY_COLOURS.get(priority), on) + raised
    yield "Queue", str(status.get("queueName") or spec.get("queueName") or "")
    progress = progress_of(job)
    if progress or phase == "Succeeded":
        percentage = 100.0 if phase == "Succeeded" else float(progress.get("percentage") or 0)
        yield "Progress", f"{bar(percentage)} {percentage:.0f}% {safe(str(progress.get('stage') or ''))}".rstrip()
        yield "Message", safe(str(progress.get("message") or ""))
    if phase in ("Queued", "BackingOff", "Starting", "Running"):
        yield from _estimates(session, job)
    yield "Submitted", f"{age(job['metadata'].get('creationTimestamp'), now)} ago"
    yield "Waited", waited(job, now)
    yield "Ran", ran(job, now)
    yield "Result", safe(str(status.get("resultUrl") or ""))
    for kind in ("DeadLettered", "CapacityAvailable", "Stalled", "Finished"):
        found = condition(job, kind)
        telling = found.get("status") == ("False" if kind == "CapacityAvailable" else "True")
        if telling and (kind != "Finished" or phase != "Failed"):
            yield (
                kind if len(kind) <= 11 else "Capacity" if kind == "CapacityAvailable" else "Dead letter",
                f"{found.get('reason', '')}: {safe(str(found.get('message', '')))}",
            )


def _estimates(session: Session, job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from klipstream_cli.models import job_from, queue_name, queue_outlook, queues_in
    from klipstream_cli.outlook_text import finish_text, start_text

    model, now = job_from(job), session.api.now()
    try:
        queues = queues_in(session, session.namespace) or []
        wanted = queue_name(model, queues)
        queue = next((queue for queue in queues if queue.metadata.name == wanted), None)
        outlook = queue_outlook(session, session.namespace, queue, queues).of(model) if queue is not None else None
    except ApiProblem:  # without the right to list, the rest is worth showing
        return
    if outlook is not None and outlook.position is not None:
        yield "Place", f"{outlook.position} in line"
    if phase_of(job) in ("Queued", "BackingOff"):
        yield "Starts", start_text(outlook, now)
    yield "Finishes", finish_text(outlook, now)


def _attempts(job: dict[str, Any], session: Session) -> None:
    attempts = job.get("status", {}).get("attempts") or []
    if not attempts:
        return
    now, rows = session.api.now(), []
    for each in attempts:
        started, ended = moment(each.get("startedAt")), moment(each.get("finishedAt"))
        took = "" if started is None else span(((ended or now) - started).total_seconds())
        rows.append((
            str(each.get("attempt")), "" if started is None else clock(started, now), took,
            str(each.get("failureClass") or ("" if ended is None else "ok")), str(each.get("reason") or ""),
            "" if each.get("exitCode") is None else str(each["exitCode"]), str(each.get("message") or ""),
        ))  # fmt: skip
    say("\n")
    table(("ATTEMPT", "STARTED", "TOOK", "ENDED", "REASON", "EXIT", "MESSAGE"), rows)
    say("\n")


def _next_steps(job: dict[str, Any]) -> Iterator[str]:
    name, phase = job["metadata"]["name"], phase_of(job)
    status = job.get("status", {})
    if phase == "Failed":
        yield f"kubectl analysis logs {name}"
        yield f"kubectl analysis retry {name}"
        fingerprint = status.get("failureFingerprint")
        if fingerprint:
            yield f"kubectl analysis dlq show {fingerprint}    # others that failed alike"
    elif phase == "Queued":
        yield f"kubectl analysis why {name}"
    elif phase in ("Starting", "Running"):
        yield f"kubectl analysis watch {name}"
        yield f"kubectl analysis logs {name} -f"
    elif phase == "BackingOff":
        yield f"kubectl analysis logs {name}"
