"""What an API server was asked and what it answered, whoever recorded it: an audit log or a simulation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the API server answered."""

    revision: int
    """resourceVersion of the answer; of a removal, and where it names none, the lowest that it can have had."""
    received: float
    """When it came in, in seconds since the epoch."""
    completed: float
    """When its answer was complete, in seconds since the epoch."""
    agent: str
    """The user agent up to a version; what an operator says of itself ends with which process it is."""
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
    sent: float = 0.0
    """When it left its sender, the last moment at which that could decide otherwise; 0 where nobody knows."""
    seen: Mapping[str, int] | None = None
    """Revisions of AnalysisJobs and AnalysisQueues that its sender had been told of by then, by uid; None where nobody
    knows."""
    first_seen: Mapping[str, int] | None = None
    """The first revision of each that its sender was ever told of, by uid; None where nobody knows."""

    @property
    def decided(self) -> float:
        """The latest moment at which it was decided, in seconds since the epoch."""
        return self.sent or self.received

    def told_of(self, uid: str, revision: int) -> bool:
        """Whether its sender had been told of that write to an object, as far as is known."""
        return self.seen is None or self.seen.get(uid, 0) >= revision

    def came_to_know(self, uid: str, revision: int) -> bool:
        """Whether it is known that its sender first heard of an object by that write to it, or by a later one."""
        return self.first_seen is not None and self.first_seen.get(uid, 0) >= revision

    @property
    def wrote(self) -> bool:
        """Whether it changed something."""
        return self.verb in WRITES and 200 <= self.code < 300

    @property
    def removes(self) -> bool:
        """Whether it left nothing of its object in the store, if it changed anything."""
        metadata = self.answer.get("metadata") or {}
        if metadata.get("finalizers"):
            return False
        if "deletionTimestamp" in metadata:
            return not metadata.get("deletionGracePeriodSeconds")  # that of a pod is removed by its kubelet, later
        return self.verb in ("delete", "deletecollection")

    @property
    def kind_of(self) -> str:
        """Verb, resource and subresource in words, such as "patch pods/status"."""
        return f"{self.verb} {self.resource}" + (f"/{self.subresource}" if self.subresource else "")


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
    """The writes that succeeded, in the order in which the store took them.

    A removal comes after the write that it shares a revision with.
    """
    return sorted(
        (request for request in requests if request.wrote),
        key=lambda request: (request.revision, request.received if request.removes else 0.0),
    )


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of a timestamp of the API."""
    return datetime.fromisoformat(timestamp).timestamp()
