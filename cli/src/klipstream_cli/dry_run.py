"""When a job that was not submitted would start."""

from __future__ import annotations

from typing import Any

from klipstream_api import QueueMode
from klipstream_cli.models import job_from, queue_name, queue_outlook, queues_in
from klipstream_cli.outlook_text import basis_text, finish_text, start_text
from klipstream_cli.printing import note, say
from klipstream_cli.session import Session


def print_outlook(session: Session, created: dict[str, Any], count: int) -> None:
    """Queue, place, start and end of the first of `count` jobs that were tried."""
    job = job_from(created)
    queues = queues_in(session, session.namespace)
    if queues is None:
        note("When it would start is not known: you may not list analysisqueues.analysis.klipstream.io here.")
        return
    wanted = queue_name(job, queues)
    queue = next((queue for queue in queues if queue.metadata.name == wanted), None)
    out = say
    if queue is None:
        out(f"It would wait: there is no queue {wanted}.\n" if wanted else "It would wait: no queue takes it.\n")
        return
    view = queue_outlook(session, session.namespace, queue, queues)
    outlook, now = view.of_new(job), session.api.now()
    first = "The first one" if count > 1 else "It"
    if queue.spec.mode is QueueMode.DRAINING:
        out(f"{first} would be rejected: the queue {wanted} is draining.\n")
        return
    if queue.status.queued >= queue.spec.max_queue_size:
        out(f"{first} would be rejected: the queue {wanted} is full ({queue.status.queued} jobs wait).\n")
        return
    out(f"{first} would be number {outlook.position} in the queue {wanted}")
    if queue.spec.mode is QueueMode.PAUSED:
        out(", which is paused.\n")
        return
    start = start_text(outlook, now)
    out(
        f", start {start} and finish {finish_text(outlook, now)}.\n{basis_text(outlook).capitalize()}.\n"
        if start
        else ".\n"
    )
