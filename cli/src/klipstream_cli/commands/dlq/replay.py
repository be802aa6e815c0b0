"""Run dead letters again. Of a group one goes first, as a canary; the others follow only if it succeeds.

Examples:

  kubectl analysis dlq replay 8c1f5e6ab0d34f27 --wait
  kubectl analysis dlq replay talk interview
  kubectl analysis dlq replay 8c1f5e6ab0d34f27 --no-canary --yes
"""

import sys
import time
from typing import Annotated, Any

import typer

from klipstream_cli.administration import REPLAY, ask, stamp
from klipstream_cli.changing import change_all, confirmed
from klipstream_cli.dead_letters import dead_letters
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.following import changes
from klipstream_cli.jobs_view import queue_of
from klipstream_cli.options import WaitOption, YesOption
from klipstream_cli.printing import say
from klipstream_cli.replaying import replayed
from klipstream_cli.resources import ANALYSIS_QUEUES
from klipstream_cli.session import Session, current
from klipstream_cli.times import span

ANSWER_SECONDS = 60.0


def command(
    which: Annotated[list[str], typer.Argument(metavar="FINGERPRINT|NAME...", help="A group, or AnalysisJobs.")],
    canary: Annotated[bool, typer.Option("--canary/--no-canary", help="Of a group, one goes first.")] = True,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the canary has decided; without one, until they have ended.")
    ] = False,
    yes: YesOption = False,
    timeout: WaitOption = 3600.0,
) -> int:
    """Run dead letters again."""
    session = current()
    group = dead_letters(session, session.namespace, fingerprint=which[0]) if len(which) == 1 else []
    if not group:
        return _at_once(session, which, wait, timeout)
    fingerprint = which[0]
    if not canary:
        confirmed(f"Run all {len(group)} dead letters of {fingerprint} again at once?", yes)
        return _at_once(session, [job["metadata"]["name"] for job in group], wait, timeout)
    code = 0
    for queue in sorted({queue_of(job) for job in group}):
        answer = ask(session, queue, REPLAY, f"{fingerprint} {stamp()}", min(timeout, ANSWER_SECONDS))
        say(f"{queue}: {answer.get('message', '')}\n")
        sys.stdout.flush()
        if wait:
            code = max(code, _follow(session, queue, fingerprint, str(answer.get("at") or ""), timeout))
    return code


def _at_once(session: Session, names: list[str], wait: bool, seconds: float) -> int:
    """Run jobs again without a canary; with `wait`, the exit code says whether they succeeded."""
    changed = change_all(session, names, "runs again", replayed)
    if not wait or not changed.names:
        return changed.code
    from klipstream_cli.waiting import wait_finished

    return changed.worse(wait_finished(session, changed.names, seconds))


def _follow(session: Session, queue: str, fingerprint: str, asked_at: str, seconds: float) -> int:
    """Say each turn of the replay; 0 when the others follow, 1 when the canary failed."""
    said, deadline = "", time.monotonic() + seconds
    for kind, obj in changes(session.api, ANALYSIS_QUEUES, session.namespace, [queue], seconds=seconds):
        if kind == "DELETED":
            raise Problem(f"the queue {queue} was deleted", Exit.NOT_FOUND)
        replay = None if kind == "LISTED" else _replay(obj, fingerprint, asked_at)
        if replay is None:
            continue
        message = f"{replay['state']}: {replay.get('message', '')}"
        if message != said and replay["state"] != "Canary":
            say(f"{queue}: {message}\n")
            sys.stdout.flush()
            said = message
        if replay["state"] == "Finished":
            return int(Exit.OK)
        if replay["state"] == "Stopped":
            return int(Exit.FAILED)
        if time.monotonic() > deadline:
            break
    raise Problem(f"the replay of {fingerprint} is not decided after {span(seconds)}; it goes on", Exit.TIMED_OUT)


def _replay(queue: dict[str, Any], fingerprint: str, asked_at: str) -> dict[str, Any] | None:
    """The replay that was asked for last, and not one of before."""
    replays = [r for r in queue.get("status", {}).get("replays") or [] if r.get("fingerprint") == fingerprint]
    return replays[-1] if replays and str(replays[-1].get("requestedAt", "")) >= asked_at else None
