"""The periodic sweep: lists live, repairs what a watch missed, stops what runs without a reservation."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from klipstream_api import AnalysisQueue, names
from klipstream_kube import JOBS, ApiError, Client, Conflict, NotFound, Resource, Unreachable
from klipstream_operator.admission import Admission, take_queue
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.status_writer import ANALYSIS_JOBS, ANALYSIS_QUEUES, StatusWriter
from klipstream_operator.workload import JobView, view_job

log = logging.getLogger(__name__)
CHILDREN = f"{names.JOB_UID_LABEL},{names.ATTEMPT_LABEL}"


@dataclass(slots=True)
class Sweep:
    """Anti-entropy: quiet when nothing was missed; it writes nothing then."""

    client: Client
    writer: StatusWriter
    admission: Admission
    reconciler: Reconciler
    namespaces: tuple[str | None, ...]
    every_seconds: float

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(self.every_seconds)
            try:
                for namespace in self.namespaces:
                    await self.sweep(namespace)
            except (ApiError, Unreachable) as error:
                log.warning("The sweep was cut short and is done again in %s s: %s", self.every_seconds, error)

    async def sweep(self, namespace: str | None) -> None:
        """One pass over a namespace, or over all."""
        store, now = self.writer.store, self.client.now()
        queues = await self._listed(ANALYSIS_QUEUES, namespace)
        for known in list(store.queues.values()):
            if self._covers(namespace, known.metadata.namespace) and known.metadata.uid not in queues:
                await self._confirm_queue(known)
        for obj in queues.values():
            take_queue(obj, store, self.client)
        jobs = await self._listed(ANALYSIS_JOBS, namespace)
        for job in list(store.jobs.values()):
            if self._covers(namespace, job.metadata.namespace) and job.uid not in jobs:
                await self.writer.read(job)
        for obj in jobs.values():
            self.writer.take(obj)
            store.refresh(obj["metadata"]["uid"], now)
            self.reconciler.enqueue(obj["metadata"]["uid"])
        for obj in (await self._listed(JOBS, namespace, CHILDREN)).values():
            if (view := view_job(obj)) is not None:
                store.put_workload(view)
                await self._stop_unreserved(view)
        for key in list(store.queues):
            self.admission.enqueue(key)

    async def _listed(self, resource: Resource, namespace: str | None, selector: str | None = None) -> dict[str, Any]:
        items, _ = await self.client.list(resource, namespace, label_selector=selector)
        return {obj["metadata"]["uid"]: obj for obj in items}

    @staticmethod
    def _covers(namespace: str | None, other: str) -> bool:
        return namespace is None or namespace == other

    async def _confirm_queue(self, queue: AnalysisQueue) -> None:
        """Kopf does not announce deletions that happened while it was not watching."""
        try:
            live = await self.client.get(ANALYSIS_QUEUES, queue.metadata.name, queue.metadata.namespace)
        except NotFound:
            live = {"metadata": {"uid": None}}
        if live["metadata"]["uid"] != queue.metadata.uid:
            self.writer.store.remove_queue(queue.key, queue.metadata.uid, self.client.now())

    async def _stop_unreserved(self, job: JobView) -> None:
        """A Job that nobody reserved a slot for (design rule 2): a create that came after its owner was given up.

        Work of a deleted queue has no reservation either; it runs to its end, since its status names it.
        """
        store = self.writer.store
        if job.suspend or job.complete or job.failed or job.attempt in store.reserved(job.job_uid):
            return
        owner = store.jobs.get(job.job_uid)
        if owner is not None and any(entry.job_uid == job.uid for entry in owner.status.attempts):
            return
        log.error("Job %s/%s runs without a reservation and is stopped", job.namespace, job.name)
        body = {"metadata": {"resourceVersion": str(job.resource_version)}, "spec": {"suspend": True}}
        try:
            await self.client.patch(JOBS, job.name, job.namespace, body, before_send=self.writer.fence)
        except (Conflict, NotFound):
            return
