"""Which queues an operator looks after where several share the work: a shard of them, by a hash of their names."""

import zlib
from dataclasses import dataclass
from typing import Any

from klipstream_api import Phase, names

UNROUTED = ""
"""Stands for the queue of a job that no queue takes: its shard says so in the job's status."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` shards. Where there is one only, it is everything."""

    number: int = 0
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"

    def covers(self, key: tuple[str, str]) -> bool:
        """Whether a queue, by namespace and name, is of this shard; known whether or not the queue exists."""
        return self.of == 1 or self.number_of(key) == self.number

    def number_of(self, key: tuple[str, str]) -> int:
        """The shard of a queue."""
        return zlib.crc32("/".join(key).encode()) % self.of

    def sees_job(self, obj: dict[str, Any]) -> bool:
        """Whether an AnalysisJob, as the API server sent it, may have to do with this shard.

        A submission without a queue may be routed to any, so that all shards look at it until one has accepted it.
        """
        if self.of == 1:
            return True
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        name = status.get("queueName") or spec.get("queueName")
        if name is None and status.get("phase", Phase.QUEUED) == Phase.QUEUED:
            return True
        return self.covers((obj["metadata"]["namespace"], name or UNROUTED))

    def sees_workload(self, obj: dict[str, Any]) -> bool:
        """Whether a Kubernetes Job or a pod is of a queue of this shard."""
        if self.of == 1:
            return True
        metadata = obj["metadata"]
        return self.covers((metadata["namespace"], (metadata.get("labels") or {}).get(names.QUEUE_LABEL, UNROUTED)))

    def lease_name(self, base: str) -> str:
        """The Lease of this shard's leader."""
        return base if self.of == 1 else f"{base}-{self.number}-of-{self.of}"
