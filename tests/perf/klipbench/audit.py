"""The API server's audit log as a sequence of answered requests, in the order of the store's revisions."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the API server answered."""

    revision: int
    """resourceVersion of the answer; where it names none (a deletion), the highest one answered until then."""
    received: float
    """When it came in, in seconds since the epoch."""
    completed: float
    """When its answer was complete, in seconds since the epoch."""
    agent: str
    """The user agent's first word, without its version."""
    verb: str
    resource: str
    """Plural with its group: "pods", "jobs.batch"."""
    subresource: str
    namespace: str
    name: str
    code: int
    """HTTP status."""
    answer: dict[str, Any]
    """The object of the answer without managedFields; empty where the log does not hold it."""
    asked: dict[str, Any] = field(default_factory=dict)
    """What was sent, where the log holds no answer: its sender was killed, and the store may have taken it."""

    @property
    def wrote(self) -> bool:
        """Whether it changed something."""
        return self.verb in WRITES and 200 <= self.code < 300

    @property
    def kind_of(self) -> str:
        """Verb, resource and subresource in words, such as "patch pods/status"."""
        return f"{self.verb} {self.resource}" + (f"/{self.subresource}" if self.subresource else "")


def read_requests(log: Path) -> list[Request]:
    """All answered requests of a log, in file order. A half-written last line is left out."""
    requests: list[Request] = []
    highest = 0
    with log.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            for request in _requests(json.loads(line), highest):
                highest = max(highest, request.revision)
                requests.append(request)
    return requests


def as_written(resource: str, objects: Iterable[dict[str, Any]]) -> list[Request]:
    """Objects read at the end of a run, each as the write that left it.

    The log holds no object for a write whose sender was killed before the answer, though the store may have
    taken it: what was read at the end shows it, at its own revision.
    """
    return [
        Request(
            revision=int(obj["metadata"]["resourceVersion"]),
            received=0.0,
            completed=0.0,
            agent="",
            verb="update",
            resource=resource,
            subresource="",
            namespace=obj["metadata"].get("namespace", ""),
            name=obj["metadata"]["name"],
            code=200,
            answer=obj,
        )
        for obj in objects
    ]


def in_store_order(requests: list[Request]) -> list[Request]:
    """The writes that succeeded, in the order in which the store took them."""
    return sorted((request for request in requests if request.wrote), key=lambda request: request.revision)


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


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of a timestamp of the API."""
    return datetime.fromisoformat(timestamp).timestamp()
