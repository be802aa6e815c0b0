"""Why a job waits: its place, who is ahead, when it starts, and what another priority would change.

Examples:

  kubectl analysis why talk
  kubectl analysis why talk -o json
"""

from __future__ import annotations

from typing import Any

from klipstream_api import AnalysisJob, Phase, Priority
from klipstream_cli.jobs_view import condition as raw_condition
from klipstream_cli.models import job_from, queue_name, queue_outlook, queues_in
from klipstream_cli.options import JobName, Output, OutputOption, no_names
from klipstream_cli.outlook_text import as_json, basis_text, finish_text, start_text
from klipstream_cli.printing import coloured, document, paint, safe, say, table
from klipstream_cli.reasons import command_for, reasons
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import Session, current
from klipstream_cli.times import clock, span
from klipstream_queueing.outlook import Outlook, QueueOutlook
from klipstream_queueing.waiting import Reason

SHOWN_AHEAD = 5


def command(name: JobName, output: OutputOption = Output.TABLE) -> None:
    """Why a job waits."""
    session = current()
    no_names(output, "why")
    raw = session.api.get(ANALYSIS_JOBS, session.namespace, name)
    job = job_from(raw)
    queues = queues_in(session, session.namespace)
    wanted = queue_name(job, queues or [])
    queue = next((queue for queue in queues or [] if queue.metadata.name == wanted), None)
    view = queue_outlook(session, session.namespace, queue, queues or []) if queue is not None else None
    own = view.of(job) if view is not None else None
    found = list(reasons(job, queue, own.position if own is not None else None, session.api.now()))
    if queues is None:
        found = [Reason("no-right", "You may not read the queues of this namespace, so place and times are not known: "
                        "ask for the verbs get and list on analysisqueues.analysis.klipstream.io.")]  # fmt: skip
    what_if = _what_if(view, job) if view is not None else {}
    if output.is_document:
        document(_document(job, view, own, found, what_if), output)
        return
    _print(session, job, raw, view, own, found, what_if)


def _what_if(view: QueueOutlook, job: AnalysisJob) -> dict[Priority, Outlook]:
    found = {}
    for priority in Priority:
        outlook = view.at_priority(job, priority)
        if outlook is not None and priority is not job.spec.priority:
            found[priority] = outlook
    return found


def _print(
    session: Session, job: AnalysisJob, raw: dict[str, Any], view: QueueOutlook | None, own: Outlook | None,
    found: list[Reason], what_if: dict[Priority, Outlook],
) -> None:  # fmt: skip
    now, on = session.api.now(), coloured()
    name, out = job.metadata.name, say
    priority = job.status.effective_priority or job.spec.priority
    aged = f" (raised from {job.spec.priority} by waiting)" if priority is not job.spec.priority else ""
    queue = f" in the queue {view.queue.metadata.name}" if view is not None else ""
    if job.status.phase not in (Phase.QUEUED, Phase.BACKING_OFF):
        out(_not_waiting(job, raw, own, session))
        return
    place = (
        f"{_ordinal(own.position)} of {len(view.line)}" if view and own and own.position is not None else "not in line"
    )
    out(f"{paint(name, 'bold', on)} waits as {priority}{aged}{queue}: {paint(place, 'bold', on)}\n\n")
    for reason in found:
        out(f"  {paint('•', 'yellow', on)} {safe(reason.message)}\n")
        if helps := command_for(reason, job, view.queue if view is not None else None):
            out(f"      {paint(helps, 'cyan', on)}\n")
    if own is not None and own.start_p50_seconds is not None:
        out(f"\n  Starts    {start_text(own, now)}\n  Finishes  {finish_text(own, now)}\n  {basis_text(own)}\n")
    if view is None or own is None:
        return
    _print_ahead(view, job, session)
    if what_if and any(outlook.position != own.position for outlook in what_if.values()):
        out(f"\nAt another priority (kubectl analysis prioritize {name} PRIORITY):\n")
        rows = [
            (f"  {priority}", _ordinal(outlook.position or 0), start_text(outlook, now) or "not while nothing starts")
            for priority, outlook in what_if.items()
        ]
        table(("  PRIORITY", "PLACE", "START"), rows)


def _print_ahead(view: QueueOutlook, job: AnalysisJob, session: Session) -> None:
    now = session.api.now()
    running = [view.jobs[entry.uid] for entry in view.queue.status.admitted if entry.uid in view.jobs]
    if running:
        say("\nRunning now:\n")
        rows = []
        for each in running[:SHOWN_AHEAD]:
            progress, outlook = each.status.progress, view.of(each)
            percentage = f"{progress.percentage:.0f}%" if progress is not None else ""
            stage = progress.stage if progress is not None else each.status.phase.value
            left = _left(outlook)
            rows.append((f"  {each.metadata.name}", each.spec.priority.value, percentage, stage, left))
        table(("  NAME", "PRIORITY", "PROGRESS", "STAGE", "ESTIMATE"), rows)
        if len(running) > SHOWN_AHEAD:
            say(f"  … and {len(running) - SHOWN_AHEAD} more\n")
    ahead = view.ahead_of(job)
    if ahead and job.uid in {rank.uid for rank in view.line}:
        say("\nAhead in line:\n")
        places: list[tuple[str, str, str]] = []
        for rank in ahead[:SHOWN_AHEAD]:
            other = view.jobs[rank.uid]
            outlook = view.of(other)
            places.append((f"  {other.metadata.name}", (other.status.effective_priority or other.spec.priority).value,
                         start_text(outlook, now)))  # fmt: skip
        table(("  NAME", "PRIORITY", "START"), places)
        if len(ahead) > SHOWN_AHEAD:
            say(f"  … and {len(ahead) - SHOWN_AHEAD} more\n")
    slot = view.next_slot_seconds()
    if slot is not None and slot > 0:
        from datetime import timedelta

        say(f"\nThe next slot is free at about {clock(now + timedelta(seconds=slot), now)} (in {span(slot)}).\n")


def _not_waiting(job: AnalysisJob, raw: dict[str, Any], own: Outlook | None, session: Session) -> str:
    name, phase = job.metadata.name, job.status.phase
    if phase in (Phase.STARTING, Phase.RUNNING):
        end = finish_text(own, session.api.now())
        return f"{name} does not wait: it is {phase}" + (f" and finishes {end}.\n" if end else ".\n")
    finished = raw_condition(raw, "Finished")
    return f"{name} does not wait: it is {phase}. {safe(str(finished.get('message', '')))}\n"


def _left(outlook: Outlook | None) -> str:
    """What is left of a running job."""
    seconds = outlook.finish_p50_seconds if outlook is not None else None
    return "" if seconds is None else f"{span(seconds)} left" if seconds > 0 else "longer than usual"


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _document(
    job: AnalysisJob, view: QueueOutlook | None, own: Outlook | None, found: list[Reason],
    what_if: dict[Priority, Outlook],
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": job.metadata.name,
        "namespace": job.metadata.namespace,
        "phase": job.status.phase.value,
        "priority": job.spec.priority.value,
        "queue": view.queue.metadata.name if view is not None else job.status.queue_name,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in found],
        "outlook": as_json(own),
        "inLine": len(view.line) if view is not None else None,
        "ahead": [view.jobs[rank.uid].metadata.name for rank in view.ahead_of(job)]
        if view and own and own.position
        else [],
        "nextSlotSeconds": view.next_slot_seconds() if view is not None else None,
        "whatIf": {priority.value: as_json(outlook) for priority, outlook in what_if.items()},
    }
