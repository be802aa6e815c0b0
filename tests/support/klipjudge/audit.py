"""The API server's audit log as a sequence of answered requests."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from klipjudge.history import Request, seconds


def read_requests(log: Path) -> list[Request]:
    """All answered requests of a log, in file order. A half-written last line is left out."""
    with log.open("rb") as lines:
        return requests_of(json.loads(line) for line in lines if line.endswith(b"\n"))


def requests_of(events: Iterable[dict[str, Any]]) -> list[Request]:
    """The answered requests of audit events."""
    requests: list[Request] = []
    highest = 0
    for event in events:
        for request in _requests(event, highest):
            highest = max(highest, request.revision)
            requests.append(request)
    return requests


def _requests(event: dict[str, Any], highest: int) -> Iterator[Request]:
    """The request of one audit event; a deletion of a collection counts once per object that it answers."""
    if event.get("stage") != "ResponseComplete" or "dryRun=" in event.get("requestURI", ""):
        return
    about = event.get("objectRef") or {}
    answer = event.get("responseObject") or {}
    for obj in answer.get("items") or [answer]:
        metadata = obj.get("metadata") or {}
        metadata.pop("managedFields", None)
        version = metadata.get("resourceVersion")
        group = about.get("apiGroup", "")
        yield Request(
            revision=int(version) if version else highest,
            received=seconds(event["requestReceivedTimestamp"]),
            completed=seconds(event["stageTimestamp"]),
            agent=(event.get("userAgent") or "?").split("/")[0].split(" ")[0],
            verb=event["verb"],
            resource=about.get("resource", "?") + (f".{group}" if group else ""),
            subresource=about.get("subresource", ""),
            namespace=about.get("namespace", ""),
            name=metadata.get("name") or about.get("name", ""),
            code=(event.get("responseStatus") or {}).get("code", 0),
            answer=obj if obj.get("kind") != "Status" else {},
            asked=(event.get("requestObject") or {}) if _unanswered(event) else {},
        )


def _unanswered(event: dict[str, Any]) -> bool:
    """Whether nobody can say from the log if the store took the write."""
    code = (event.get("responseStatus") or {}).get("code", 0)
    return not event.get("responseObject") or code == 0 or code >= 500
