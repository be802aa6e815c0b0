"""What the cluster holds, as little of it as tells whether a row is right: a version and a digest per object."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_convex.rows import Row, digest, job_row, progress_row, queue_row

Kind = Literal["job", "queue"]
KINDS: tuple[Kind, ...] = ("job", "queue")


@dataclass(frozen=True, slots=True)
class Seen:
    """One object as it was last seen."""

    namespace: str
    name: str
    version: int
    digest: bytes
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """What is to be told of one object: its rows, or that it is gone."""

    kind: Kind
    uid: str
    version: int
    row: Row | None
    progress: Row | None = None

    def to_wire(self, epoch: int) -> dict[str, Any]:
        """As convex/rows.ts has it."""
        told: dict[str, Any] = {"epoch": float(epoch), "version": float(self.version)}
        if self.row is None:
            return told | {"uid": self.uid}
        told[self.kind] = self.row
        return told if self.progress is None else told | {"progress": self.progress}


def update_of(cluster: str, kind: Kind, obj: Mapping[str, Any]) -> Update:
    """What is to be told of an object. Raises pydantic.ValidationError when it is not a valid one."""
    uid, version = obj["metadata"]["uid"], int(obj["metadata"]["resourceVersion"])
    if kind == "queue":
        return Update("queue", uid, version, queue_row(cluster, AnalysisQueue.from_wire(dict(obj))))
    job = AnalysisJob.from_wire(dict(obj))
    return Update("job", uid, version, job_row(cluster, job, obj), progress_row(job))


@dataclass(slots=True)
class Shadow:
    """All objects that are in the cluster, by uid."""

    objects: dict[Kind, dict[str, Seen]] = field(default_factory=lambda: {"job": {}, "queue": {}})
    by_job_id: dict[str, str] = field(default_factory=dict)
    """Uid of the job that the outside world knows by an id."""

    def put(self, update: Update) -> bool:
        """Note what was seen; False where a version at least as new was."""
        assert update.row is not None
        known = self.objects[update.kind].get(update.uid)
        if known is not None and known.version >= update.version:
            return False
        row = update.row
        job_id = row.get("jobId", "")
        self.objects[update.kind][update.uid] = Seen(
            row["namespace"], row["name"], update.version, digest(row, update.progress), job_id
        )
        if job_id:
            self.by_job_id[job_id] = update.uid
        return True

    def remove(self, kind: Kind, uid: str) -> None:
        """Note that an object is gone."""
        seen = self.objects[kind].pop(uid, None)
        if seen is not None and self.by_job_id.get(seen.job_id) == uid:
            del self.by_job_id[seen.job_id]

    def uids(self, kind: Kind) -> Iterator[str]:
        """All of a kind."""
        return iter(self.objects[kind])

    @property
    def version(self) -> int:
        """The highest version seen; 0 of nothing."""
        return max((seen.version for each in self.objects.values() for seen in each.values()), default=0)
