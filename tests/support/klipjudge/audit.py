"""The API server's audit log as a sequence of answered requests."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from klipjudge.history import Request, seconds


def read_requests(log: Path) -> list[Request]:
    """All answered requests of a log, in file order. A half-written last line is left out."""
    with log.open("rb") as lines:
        return requests_of(map(json.loads, whole(lines)))


def whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a log up to one that is still being written."""
    return takewhile(lambda line: line.endswith(b"\n"), lines)


def requests_of(events: Iterable[dict[str, Any]]) -> list[Request]:
    """The answered requests of audit events.

    Lines come in the order in which answers were complete, and an answer may be overtaken by those to later requests.
    So a removal, which names no revision or that of the last write, is put where it can have been at the earliest:
    after all that was answered before it came, and after every other write to its object.
    """
    requests: list[Request] = []
    unplaced: dict[int, str] = {}
    last: dict[str, int] = {}
    for event in events:
        for request in _requests(event):
            uid = _uid(request, event)
            last[uid] = max(last.get(uid, 0), request.revision)
            if request.removes or not request.revision:
                unplaced[len(requests)] = uid
            requests.append(request)
    answers = sorted((request.completed, request.revision) for request in requests if request.revision)
    highest = list(accumulate((revision for _, revision in answers), max, initial=0))
    for index, uid in unplaced.items():
        before = bisect_left(answers, (requests[index].received,))
        wrote = last[uid] if uid and requests[index].removes else 0
        requests[index] = replace(requests[index], revision=max(highest[before], wrote))
    return requests


def _requests(event: dict[str, Any]) -> Iterator[Request]:
    """The request of one audit event; a deletion of a collection counts once per object that it answers."""
    if event.get("stage") != "ResponseComplete" or "dryRun=" in event.get("requestURI", ""):
        return
    about = event.get("objectRef") or {}
    answer = event.get("responseObject") or {}
    for obj in answer.get("items") or [answer]:
        metadata = obj.get("metadata") or {}
        metadata.pop("managedFields", None)
        group = about.get("apiGroup", "")
        yield Request(
            revision=int(metadata.get("resourceVersion") or 0),
            received=seconds(event["requestReceivedTimestamp"]),
            completed=seconds(event["stageTimestamp"]),
            agent=(event.get("userAgent") or "?").split("/")[0],
            verb=event["verb"],
            resource=about.get("resource", "?") + (f".{group}" if group else ""),
            subresource=about.get("subresource", ""),
            namespace=about.get("namespace", ""),
            name=metadata.get("name") or about.get("name", ""),
            code=(event.get("responseStatus") or {}).get("code", 0),
            answer=obj if obj.get("kind") != "Status" else {},
            asked=(event.get("requestObject") or {}) if _unanswered(event) else {},
        )


def _uid(request: Request, event: dict[str, Any]) -> str:
    """Uid of the object that a request was about; empty where the answer does not say."""
    details = (event.get("responseObject") or {}).get("details") or {}
    return str((request.answer.get("metadata") or {}).get("uid") or details.get("uid") or "")


def _unanswered(event: dict[str, Any]) -> bool:
    """Whether nobody can say from the log if the store took the write."""
    code = (event.get("responseStatus") or {}).get("code", 0)
    return not event.get("responseObject") or code == 0 or code >= 500
