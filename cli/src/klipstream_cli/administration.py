"""Administrative requests: annotations of a queue, and the operator's acknowledgement in its status."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from klipstream_cli.errors import Exit, Problem
from klipstream_cli.following import changes
from klipstream_cli.printing import say
from klipstream_cli.resources import ANALYSIS_QUEUES, GROUP
from klipstream_cli.session import Session
from klipstream_cli.times import span

REQUEST_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Request:
    """An operation as annotation and status name it."""

    annotation: str
    operation: str


CLEAR = Request(f"{GROUP}/clear", "Clear")
CLEAR_STUCK = Request(f"{GROUP}/clear-stuck", "ClearStuck")
RECONCILE = Request(f"{GROUP}/reconcile", "Reconcile")
REPLAY = Request(f"{GROUP}/replay", "Replay")


def stamp() -> str:
    """Something that no earlier request of ours said."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ask(session: Session, queue: str, request: Request, value: str, seconds: float) -> dict[str, Any]:
    """Ask the operator, and wait for its acknowledgement, which is returned.

    Raises Problem: REFUSED with the operator's own words, TIMED_OUT where nobody answered.
    """
    namespace, value = session.namespace, value[:REQUEST_CHARACTERS]
    body = {"metadata": {"annotations": {request.annotation: value}}}
    session.api.patch(ANALYSIS_QUEUES, namespace, queue, body)
    deadline = time.monotonic() + seconds
    for kind, obj in changes(session.api, ANALYSIS_QUEUES, namespace, [queue], seconds=seconds):
        if kind == "DELETED":
            raise Problem(f"the queue {queue} was deleted", Exit.NOT_FOUND)
        if kind != "LISTED":
            answer = acknowledgement(obj, request)
            if answer.get("request") == value:
                message = str(answer.get("message", ""))
                if message.startswith("Refused"):
                    raise Problem(message, Exit.REFUSED)
                return answer
        if time.monotonic() > deadline:
            break
    raise Problem(f"no operator answered within {span(seconds)}; the request stands", Exit.TIMED_OUT,
                  "Is one running? kubectl analysis doctor")  # fmt: skip


def acknowledgement(queue: dict[str, Any], request: Request) -> dict[str, Any]:
    """What became of the last request of this kind; empty where there was none."""
    operations = queue.get("status", {}).get("operations") or []
    return next((dict(each) for each in operations if each.get("name") == request.operation), {})


def say_answer(queue: str, answer: dict[str, Any]) -> None:
    """The operator's words."""
    say(f"{queue}: {answer.get('message') or 'done'}\n")


def set_mode(session: Session, queues: list[str], mode: str, done: str) -> None:
    """Set the mode of queues."""
    for queue in queues:
        session.api.patch(ANALYSIS_QUEUES, session.namespace, queue, {"spec": {"mode": mode}})
        say(f"analysisqueue.analysis.klipstream.io/{queue} {done}\n")


def the_queue(session: Session, name: str | None) -> str:
    """The queue that is meant: the named one, else the only one, else the one called default. Raises Problem."""
    if name is not None:
        return name
    found = sorted(str(queue["metadata"]["name"]) for queue in session.api.list(ANALYSIS_QUEUES, session.namespace)[0])
    if not found:
        raise Problem(f"there is no AnalysisQueue in the namespace {session.namespace}", Exit.NOT_FOUND,
                      "kubectl apply -f examples/default-queue.yaml makes one; -n names another place.")  # fmt: skip
    if len(found) == 1 or "default" in found:
        return "default" if "default" in found else found[0]
    raise Problem(f"name a queue: {', '.join(found)}", Exit.USAGE)
