"""The audit log: who changed what, from where, and what came of it. One JSON line for each act."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from klipstream_gateway.routes import Call, Route

log = logging.getLogger("klipstream_gateway.audit")


def note(route: Route, call: Call, status: int, code: str | None, jobs: Sequence[str]) -> None:
    """Write down an act, whether it was done or refused; `jobs` are those that a submission came to. Holds no body:
    that may be sensitive."""
    log.info(
        "%s",
        json.dumps(
            {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "who": call.principal.name,
                "tenant": call.principal.tenant,
                "from": call.address,
                "operation": route.operation,
                "target": dict(call.path) | _queue_of(call) | ({"jobs": list(jobs)} if jobs else {}),
                "status": status,
                "problem": code,
                "request": call.request_id,
            }
        ),
    )


def _queue_of(call: Call) -> dict[str, str]:
    queue = getattr(call.query, "queue", None)
    return {"queue": queue} if isinstance(queue, str) else {}
