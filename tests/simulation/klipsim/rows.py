"""Names for what an operator asks of the API server: the rows of the coverage matrix."""

from __future__ import annotations

from contextvars import ContextVar

from klipsim.http_api import Call, target_of
from klipstream_operator.transitions import Transition

TRANSITION: ContextVar[Transition | None] = ContextVar("transition", default=None)
"""The transition that is being written, set around StatusWriter.write."""

OTHER_ROWS = (
    "reserve or release slots", "queue initialized", "queue counters",
    "Job created", "Job's name occupied", "Job suspended", "Job resumed", "Job fenced off",
    "lost pod ended", "lost pod deleted", "replay asked for", "worker template tried", "Lease taken or renewed",
)  # fmt: skip
ROWS = (*(transition.label for transition in Transition), *OTHER_ROWS)
UNREACHABLE = {
    Transition.LOG_ARCHIVED.label: "the archive of logs writes files in threads; tests/integration/test_log_archive.py",
}
"""Rows that no run can reach, and where they are tested instead."""
READ = "read"


def row_of(call: Call) -> str:
    """The row of a request; "read" for what changes nothing, "event" for events."""
    target = target_of(call.path)
    if call.method == "GET" or target is None:
        return READ
    kind, subresource = target.kind.plural, target.subresource
    match kind, call.method, subresource:
        case "analysisjobs", "PATCH", "status":
            transition = TRANSITION.get()
            return transition.label if transition is not None else "status"
        case "analysisjobs", "PATCH", _:
            return "replay asked for"
        case "analysisjobs", "DELETE", _:
            return "purged"
        case "analysisqueues", "PATCH", "status":
            body = call.body["status"]
            if "initialized" in body:
                return "queue initialized"
            return "reserve or release slots" if "admitted" in body else "queue counters"
        case "jobs", "POST", _:
            if "dryRun" in call.params:
                return "worker template tried"
            return "Job's name occupied" if call.body["spec"].get("suspend") else "Job created"
        case "jobs", "PATCH", _:
            suspend = (call.body.get("spec") or {}).get("suspend")
            return {True: "Job suspended", False: "Job resumed", None: "Job fenced off"}[suspend]
        case "pods", "PATCH", _:
            return "lost pod ended"
        case "pods", "DELETE", _:
            return "lost pod deleted"
        case "leases", _, _:
            return "Lease taken or renewed"
    return "event"
