"""What the gateway asks of the API server, and how its refusals read to a caller."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from klipstream_api import AnalysisJob, AnalysisQueue, names
from klipstream_gateway.cache import Cache
from klipstream_gateway.problems import FieldError, Problem, Refused
from klipstream_gateway.views import JOB_ID_LABEL
from klipstream_kube import (
    LEASES,
    PODS,
    ApiError,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Resource,
    TooManyRequests,
    Unreachable,
)

log = logging.getLogger(__name__)
ANALYSIS_JOBS = Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(names.GROUP, names.VERSION, "analysisqueues", "AnalysisQueue")
RETRY_AFTER = {"Retry-After": "1"}
LEASE_SECONDS = 10.0
LIVE_LOOKUPS_AT_ONCE = 4
_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request:"
    r" the queue (?P<queue>\S+) is (?P<how>draining|full)\b"
)
"""What charts/klipstream/templates/admission-policy.yaml says, as the API server puts it."""


def refusal(error: ApiError | Unreachable) -> Refused:
    """What a caller is told of an error of the API server."""
    if isinstance(error, Unreachable | TooManyRequests):
        return Refused(Problem.UNAVAILABLE, "The API server does not answer now.", RETRY_AFTER)
    if isinstance(error, Invalid):
        causes = error.details.get("causes") or []
        fields = tuple(
            FieldError(field=str(cause.get("field", "")).strip("<>"), message=str(cause.get("message", "")))
            for cause in causes
            if isinstance(cause, Mapping)
        )
        return Refused(Problem.INVALID, "The API server refuses these values.", errors=fields or None)
    if isinstance(error, Conflict):
        return Refused(Problem.CONFLICT, "It was changed at the same time.")
    if isinstance(error, NotFound):
        return Refused(Problem.NOT_FOUND, "It was removed at the same time.")
    if isinstance(error, Forbidden) and (refused := _POLICY.search(error.message)) is not None:
        # The chart's policy, and no other one: only its words tell a queue from its name.
        draining = refused["how"] == "draining"
        kind = Problem.QUEUE_DRAINING if draining else Problem.QUEUE_FULL
        why = "is draining" if draining else "is full"
        return Refused(kind, f"The queue {refused['queue']} {why}.", {"Retry-After": "30"})
    log.error("The API server refuses the gateway: %s", error)
    return Refused(Problem.UNAVAILABLE, "The gateway may not do this in the cluster; its log says why.", RETRY_AFTER)


@dataclass(slots=True)
class Cluster:
    """Reads past the cache and writes; every answer goes into the cache at once. Raises ApiError and Unreachable."""

    client: Client
    cache: Cache
    namespace: str
    lease_names: tuple[str, ...]
    lease_namespace: str
    _leader: tuple[float, datetime | None] = (float("-inf"), None)
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LIVE_LOOKUPS_AT_ONCE))

    async def create_job(self, body: dict[str, Any]) -> AnalysisJob:
        """Create an AnalysisJob. AlreadyExists may mean that an earlier send of the same one did it."""
        return self._job(await self.client.create(ANALYSIS_JOBS, body, self.namespace, retry=True))

    async def read_job(self, name: str) -> AnalysisJob:
        """Read one live."""
        return self._job(await self.client.get(ANALYSIS_JOBS, name, self.namespace))

    async def find_job(self, job_id: str) -> AnalysisJob | None:
        """A job that was submitted through a gateway a moment ago, and that the watch has not shown yet."""
        async with self._lookups:
            items, _ = await self.client.list(
                ANALYSIS_JOBS, self.namespace, label_selector=f"{JOB_ID_LABEL}={job_id}", page_size=2
            )
        return self._job(items[0]) if items else None

    async def change_job(self, job: AnalysisJob, spec: dict[str, Any], guarded: bool = False) -> AnalysisJob:
        """Patch the spec of that very job; `guarded`: only if nobody changed it since."""
        metadata = {"uid": job.uid} | ({"resourceVersion": job.metadata.resource_version} if guarded else {})
        body = {"metadata": metadata, "spec": spec}
        return self._job(await self.client.patch(ANALYSIS_JOBS, job.metadata.name, self.namespace, body))

    async def change_queue(self, queue: AnalysisQueue, body: dict[str, Any], guarded: bool = False) -> AnalysisQueue:
        """Patch the spec or the annotations of that very queue; `guarded`: only if nobody changed it since."""
        metadata = body.get("metadata", {}) | {"uid": queue.metadata.uid}
        if guarded:
            metadata["resourceVersion"] = queue.metadata.resource_version
        answer = await self.client.patch(
            ANALYSIS_QUEUES, queue.metadata.name, self.namespace, body | {"metadata": metadata}
        )
        taken = self.cache.put_queue(answer)
        return taken if taken is not None else AnalysisQueue.from_wire(answer)

    async def read_queue(self, name: str) -> AnalysisQueue | None:
        """Read one live; by a list, since the role needs no other right then."""
        items, _ = await self.client.list(ANALYSIS_QUEUES, self.namespace, field_selector=f"metadata.name={name}")
        if not items:
            return None
        taken = self.cache.put_queue(items[0])
        return taken if taken is not None else AnalysisQueue.from_wire(items[0])

    async def pods_of(self, job: AnalysisJob, attempt: int) -> list[str]:
        """Names of the pods of an attempt."""
        selector = f"{names.JOB_UID_LABEL}={job.uid},{names.ATTEMPT_LABEL}={attempt}"
        items, _ = await self.client.list(PODS, self.namespace, label_selector=selector)
        return [str(item["metadata"]["name"]) for item in items]

    async def leading_since(self) -> datetime | None:
        """When the operator that leads took over, of several shards the last one; None where none does.

        Remembered for ten seconds.
        """
        read_at, value = self._leader
        if time.monotonic() - read_at < LEASE_SECONDS:
            return value
        found = await asyncio.gather(*map(self._acquired, self.lease_names))
        value = max((each for each in found if each is not None), default=None)
        self._leader = (time.monotonic(), value)
        return value

    async def _acquired(self, lease_name: str) -> datetime | None:
        """Since when a Lease is held; None where nobody holds it, or that may not be known while roles change."""
        try:
            lease = await self.client.get(LEASES, lease_name, self.lease_namespace)
        except (NotFound, Forbidden):
            return None
        spec = lease.get("spec") or {}
        acquired = spec.get("acquireTime") if spec.get("holderIdentity") else None
        return datetime.fromisoformat(acquired).astimezone(UTC) if isinstance(acquired, str) else None

    def _job(self, obj: dict[str, Any]) -> AnalysisJob:
        """Take an answer into the cache; what is held afterwards, which may be newer."""
        taken = self.cache.put_job(obj)
        return taken if taken is not None else AnalysisJob.from_wire(obj)
