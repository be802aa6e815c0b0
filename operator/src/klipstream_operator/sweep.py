"""The periodic sweep: lists live, repairs what a watch missed, stops what runs without a reservation."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from klipstream_api import FINISHED_PHASES, AnalysisJob, AnalysisQueue, names
from klipstream_kube import JOBS, PODS, ApiError, Client, Conflict, NotFound, Resource, Unreachable
from klipstream_operator.kueue import NotYetTaken, stopping
from klipstream_operator.log_fields import Fields, attempt_fields, job_fields
from klipstream_operator.status_writer import ANALYSIS_JOBS, ANALYSIS_QUEUES, StatusWriter
from klipstream_operator.store import QueueKey, version
from klipstream_operator.taking import take_queue
from klipstream_operator.workload import JobView, PodView, view_job, view_pod

log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0
GENTLY = 4
"""How many times as long as a page took a periodic sweep waits before the next: others go on meanwhile."""
PAUSE_AT_MOST_SECONDS = 1.0
CHILDREN = f"{names.JOB_UID_LABEL},{names.ATTEMPT_LABEL}"


@dataclass(frozen=True, slots=True)
class _Told:
    """What a watch had told when a list was asked for: all up to a version; and the versions held then, by uid."""

    upto: int
    versions: dict[str, int]

    def without(self, obj: dict[str, Any], fields: Fields) -> bool:
        """Whether the watch had missed what is listed. Newer changes are on their way, and no miss."""
        missed = self.versions.get(obj["metadata"]["uid"], 0) < _version(obj) <= self.upto
        if missed:
            log.warning("A watch missed %s/%s at version %d; the sweep took it in",
                        *_key(obj), _version(obj), extra=fields)  # fmt: skip
        return missed


@dataclass(slots=True)
class Sweep:
    """Anti-entropy: quiet when nothing was missed; it writes nothing then."""

    client: Client
    writer: StatusWriter
    namespaces: tuple[str | None, ...]
    every_seconds: float
    watched: Callable[[Resource, str | None], int]
    """The version up to which the watch of a resource, in a namespace or in all, has told everything."""
    repaired: Callable[[str, int], None]
    """Told, by resource, how many objects a watch had missed."""
    _asked: list[tuple[QueueKey, Callable[[int], None]]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _listed_upto: dict[str | None, int] = field(default_factory=dict)
    """The version of the last complete list of the AnalysisJobs of a namespace, or of all."""

    def reconcile(self, key: QueueKey, done: Callable[[int], None]) -> None:
        """Sweep the queue's namespace soon, then say how many objects had been missed."""
        self._asked.append((key, done))
        self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        loop = asyncio.get_running_loop()
        due, gently = loop.time() + self.every_seconds, True
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while self._asked:
                    key, done = self._asked[0]
                    repaired = await self.sweep(key[0])
                    self._asked.pop(0)
                    done(repaired)
                if loop.time() >= due:
                    for namespace in self.namespaces:
                        await self.sweep(namespace, gently)
                    due, gently = loop.time() + self.every_seconds, True
            except (ApiError, Unreachable) as error:
                due = max(due, loop.time() + RETRY_SECONDS)
                gently = False  # pages are kept for some minutes only: if that was it, there is no time to lose
                log.warning("The sweep was cut short and is done again in %s s: %s", RETRY_SECONDS, error)
                loop.call_later(RETRY_SECONDS, self._wake.set)

    async def sweep(self, namespace: str | None, gently: bool = False) -> int:
        """One pass over a namespace, or over all; how many objects had been missed."""
        missed = Counter[str]()
        try:
            await self._queues(namespace, missed)
            await self._analysis_jobs(namespace, missed, gently)
            await self._workloads(JOBS, view_job, namespace, missed, gently)
            missed[JOBS.qualified_name] += await self.stop_unreserved(namespace)
            await self._workloads(PODS, view_pod, namespace, missed, gently)
        finally:  # what was mended before an error is no miss the next time
            for resource, count in missed.items():
                self.repaired(resource, count)
        for key in list(self.writer.store.queues):
            self.writer.store.on_queue(key)
        return missed.total()

    async def _queues(self, namespace: str | None, missed: Counter[str]) -> None:
        store = self.writer.store
        items, _ = await self.client.list(ANALYSIS_QUEUES, namespace)
        queues = {obj["metadata"]["uid"]: obj for obj in items}
        for known in store.all_queues():
            if self._covers(namespace, known.metadata.namespace) and known.metadata.uid not in queues:
                missed[ANALYSIS_QUEUES.qualified_name] += await self._confirm_queue(known)
        for obj in queues.values():
            before = store.queue(_key(obj))
            if take_queue(obj, store, self.client) is not None:
                missed[ANALYSIS_QUEUES.qualified_name] += before is None or version(before) < _version(obj)

    async def _pages(
        self, resource: Resource, namespace: str | None, selector: str | None, gently: bool
    ) -> AsyncGenerator[tuple[int, list[dict[str, Any]]]]:
        """The list's version and the objects that this shard sees, live, page by page."""
        sees = self.writer.store.shard.sees_job if resource is ANALYSIS_JOBS else self.writer.store.shard.sees_workload
        loop = asyncio.get_running_loop()
        began = loop.time()
        async for page in self.client.list_pages(resource, namespace, label_selector=selector):
            yield _version(page), [obj for obj in page.get("items") or [] if sees(obj)]
            if gently and not self._asked and page["metadata"].get("continue"):
                await asyncio.sleep(min(GENTLY * (loop.time() - began), PAUSE_AT_MOST_SECONDS))
            began = loop.time()

    async def _analysis_jobs(self, namespace: str | None, missed: Counter[str], gently: bool) -> None:
        """List AnalysisJobs live, and have the store hold those and no others; counts what the watch had missed.

        What a page tells counts at once: nobody is to decide on less while the next one, or anything else, is awaited.
        """
        store = self.writer.store
        told = _Told(self.watched(ANALYSIS_JOBS, namespace), {uid: version(job) for uid, job in store.jobs.items()})
        listed: set[str] = set()
        upto = 0
        async for list_version, page in self._pages(ANALYSIS_JOBS, namespace, None, gently):
            upto, now = list_version, self.client.now()
            for obj in page:
                listed.add(obj["metadata"]["uid"])
                missed[ANALYSIS_JOBS.qualified_name] += self._take_in(obj, told, now)
        for uid in [uid for uid in told.versions if uid not in listed]:
            job = store.jobs.get(uid)
            if job is not None and self._covers(namespace, job.metadata.namespace):
                await self.writer.read(job)
                missed[ANALYSIS_JOBS.qualified_name] += uid not in store.jobs
        self._listed_upto[namespace] = upto

    def is_past(self, obj: dict[str, Any], namespace: str | None) -> bool:
        """Whether a late watch brings an AnalysisJob that was gone already when all were listed last."""
        unknown = obj["metadata"]["uid"] not in self.writer.store.jobs
        return unknown and _version(obj) <= self._listed_upto.get(namespace, 0)

    def _take_in(self, obj: dict[str, Any], told: _Told, now: datetime) -> bool:
        """Whether the watch had missed a listed AnalysisJob, which is held now."""
        store, uid = self.writer.store, obj["metadata"]["uid"]
        held = store.jobs.get(uid)
        # To read an object again that is held as it is would be half of a take-over's time.
        taken = held if held is not None and version(held) >= _version(obj) else self.writer.take(obj)
        store.refresh(uid, now)
        if taken is None or not _rests(taken) or store.reserved(uid):
            store.on_job(uid)
        return taken is not None and told.without(obj, job_fields(taken))

    async def _workloads(
        self,
        resource: Resource,
        view_of: Callable[[dict[str, Any]], JobView | PodView | None],
        namespace: str | None,
        missed: Counter[str],
        gently: bool,
    ) -> None:
        """List Jobs or pods live, and have the store hold those and no others; counts what the watch had missed."""
        store = self.writer.store
        known = {
            view.uid: view
            for attempt in store.attempts.values()
            for view in ((attempt.job,) if resource is JOBS else tuple(attempt.pods.values()))
            if view is not None and self._covers(namespace, view.namespace)
        }
        told = _Told(self.watched(resource, namespace), {uid: view.resource_version for uid, view in known.items()})
        listed: set[str] = set()
        async for _, page in self._pages(resource, namespace, CHILDREN, gently):
            for obj in page:
                uid = obj["metadata"]["uid"]
                listed.add(uid)
                held = known.get(uid)
                if view := held if held is not None and held.resource_version == _version(obj) else view_of(obj):
                    fields = attempt_fields(view, store.jobs.get(view.job_uid))
                    missed[resource.qualified_name] += told.without(obj, fields)
                    store.put_workload(view)
        for uid, view in known.items():
            # The list is newer than what was known before it was asked for. The end of a pod is kept, as ever.
            if uid not in listed and store.knows(view):
                log.warning("A watch missed the end of %s/%s; the sweep took it out", view.namespace, view.name,
                            extra=attempt_fields(view, store.jobs.get(view.job_uid)))  # fmt: skip
                store.remove_workload(uid)
                missed[resource.qualified_name] += 1

    @staticmethod
    def _covers(namespace: str | None, other: str) -> bool:
        return namespace is None or namespace == other

    async def _confirm_queue(self, queue: AnalysisQueue) -> bool:
        """Kopf does not announce deletions that happened while it was not watching."""
        try:
            live = await self.client.get(ANALYSIS_QUEUES, queue.metadata.name, queue.metadata.namespace)
        except NotFound:
            live = {"metadata": {"uid": None}}
        if live["metadata"]["uid"] == queue.metadata.uid:
            return False
        self.writer.store.remove_queue(queue.key, queue.metadata.uid, self.client.now())
        return True

    async def stop_unreserved(self, namespace: str | None = None) -> int:
        """Stop every known Job that runs without a reservation, in a namespace or in all; how many there were.

        The reservations of there must have been read live before.
        """
        stopped = 0
        for key in list(self.writer.store.attempts):
            job = self.writer.store.attempt(key).job
            if job is None or not self._covers(namespace, job.namespace):
                continue
            try:
                stopped += await self._stop_unreserved(job)
            except (ApiError, Unreachable) as error:  # nobody else is to wait for that; the next sweep tries again
                log.error("Job %s/%s could not be stopped: %s", job.namespace, job.name, error,
                          extra=attempt_fields(job, self.writer.store.jobs.get(job.job_uid)))  # fmt: skip
        return stopped

    async def _stop_unreserved(self, job: JobView) -> bool:
        """Stop a Job that nobody reserved a slot for (rule 1): a create that came after its owner was given up.

        Work of a deleted queue has no reservation either; it runs to its end, since its status names it.
        """
        store = self.writer.store
        if not job.unstopped or job.complete or job.failed or job.attempt in store.reserved(job.job_uid):
            return False
        owner = store.jobs.get(job.job_uid)
        if owner is not None and any(entry.job_uid == job.uid for entry in owner.status.attempts):
            return False
        log.error("Job %s/%s runs without a reservation and is stopped", job.namespace, job.name,
                  extra=attempt_fields(job, owner))  # fmt: skip
        try:
            body = await stopping(self.client, job, self.client.now(), self.writer.fence)
            body["metadata"] = body.get("metadata", {}) | {"resourceVersion": str(job.resource_version)}
            await self.client.patch(JOBS, job.name, job.namespace, body, before_send=self.writer.fence)
        except (Conflict, NotFound, NotYetTaken):
            return False
        return True


def _rests(job: AnalysisJob) -> bool:
    """Whether a job is finished with no replay asked for: most are, and without a slot there is nothing to do."""
    return job.status.phase in FINISHED_PHASES and job.spec.replay <= job.status.observed_replay


def _version(obj: dict[str, Any]) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _key(obj: dict[str, Any]) -> QueueKey:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
