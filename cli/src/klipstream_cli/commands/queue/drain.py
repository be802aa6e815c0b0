"""Drain a queue: new jobs are refused, and everything that was accepted is finished.

Examples:

  kubectl analysis queue drain live --wait --timeout 2h
"""

import sys
from typing import Annotated

import typer

from klipstream_cli.administration import set_mode, the_queue
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.following import changes
from klipstream_cli.jobs_view import condition
from klipstream_cli.options import WaitOption
from klipstream_cli.printing import say
from klipstream_cli.resources import ANALYSIS_QUEUES
from klipstream_cli.session import current
from klipstream_cli.times import span


def command(
    queue: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="The only one, or default, where absent.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until nothing is left.")] = False,
    timeout: WaitOption = 3600.0,
) -> None:
    """Drain a queue."""
    session = current()
    name = the_queue(session, queue)
    set_mode(session, [name], "Draining", "is draining")
    if not wait:
        return
    last = None
    for kind, obj in changes(session.api, ANALYSIS_QUEUES, session.namespace, [name], seconds=timeout):
        if kind == "DELETED":
            raise Problem(f"the queue {name} was deleted", Exit.NOT_FOUND)
        if kind == "LISTED":
            continue
        status, drained = obj.get("status", {}), condition(obj, "Drained")
        seen = int(status.get("observedGeneration") or 0) >= int(obj["metadata"].get("generation") or 0)
        if seen and drained.get("status") == "True":
            say(f"{name} is drained.\n")
            return
        if obj["spec"].get("mode") != "Draining":
            raise Problem(f"{name} is {obj['spec'].get('mode')} again", Exit.REFUSED)
        left = tuple(int(status.get(key) or 0) for key in ("active", "queued", "backingOff"))
        if left != last:
            say(f"{name}: {left[0]} running, {left[1]} waiting, {left[2]} backing off\n")
            sys.stdout.flush()
            last = left
    raise Problem(f"{name} is not drained after {span(timeout)}; it goes on draining", Exit.TIMED_OUT)
