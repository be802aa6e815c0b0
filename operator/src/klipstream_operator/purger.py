"""Purges finished jobs when their time is over: archived logs first, then the AnalysisJob and all that it owns.

Results stay: they are their users'.
"""

import asyncio
import contextlib
import heapq
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.analysisqueue import Retention
from klipstream_kube import ApiError, Client, Conflict, NotFound, Unreachable
from klipstream_operator.log_fields import job_fields
from klipstream_operator.log_store import LogStore, LogStoreError, Place, Unusable, place_of, root_of
from klipstream_operator.retention import STORE_GRACE, may_have_logs, purge_at, retention_of
from klipstream_operator.status_writer import ANALYSIS_JOBS, StatusWriter
from klipstream_operator.store import QueueKey, Store, queue_key

log = logging.getLogger(__name__)
PURGES_PER_SECOND = 5.0
"""Each purge makes the API server's garbage collector delete Jobs and pods as well; 10,000 jobs take 33 minutes."""
LONGEST_WAIT_SECONDS = 60.0
"""The API server's clock, which decides, may be corrected while we wait by our own."""
BACKOFF_SECONDS = (5, 15, 60, 300, 900, 3600)
PAUSE_SECONDS = (1, 5, 15, 60, 300)
USUAL = Retention()
"""Of a queue that says nothing else."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Pause:
    """After a failure others wait too, since it is mostly the store or the API server that fails, not the job."""

    failures: int = 0
    until: datetime = LONG_AGO

    def failed(self, now: datetime) -> None:
        self.failures += 1
        self.until = now + timedelta(seconds=PAUSE_SECONDS[min(self.failures, len(PAUSE_SECONDS)) - 1])


@dataclass(slots=True)
class Purger:
    """Finished jobs by the moment at which they are due. What is due follows from the store: nothing is remembered."""

    client: Client
    store: Store
    writer: StatusWriter
    logs: LogStore
    archiving: bool
    """Whether logs are archived; if not, only those are removed that a status names."""
    _due: dict[str, datetime] = field(default_factory=dict)
    _heap: list[tuple[datetime, str]] = field(default_factory=list)
    """Entries that `_due` does not confirm are void."""
    _sooner: asyncio.Event = field(default_factory=asyncio.Event)
    _retentions: dict[QueueKey, Retention] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    """Failures in a row, by uid."""
    _api: _Pause = field(default_factory=_Pause)
    _stores: dict[Place, _Pause] = field(default_factory=dict)

    # --- what changed ----------------------------------------------------------------------------------------

    def look(self, uid: str) -> None:
        """Note when a job is due; called when it, or what runs for it, changed decisively."""
        job = self.store.jobs.get(uid)
        at = purge_at(job, self._queue(job)) if job is not None else None
        if at is None:
            self._due.pop(uid, None)
            self._failures.pop(uid, None)
        else:
            self._schedule(uid, at)

    def look_at_queue(self, key: QueueKey) -> None:
        """Look at a queue's jobs again if its retention changed; called for every change."""
        retention = retention_of(self.store.queues.get(key))
        if self._retentions.get(key, USUAL) != retention:
            self._retentions[key] = retention
            for job in self.store.jobs.values():
                if queue_key(job) == key:
                    self.look(job.uid)

    def _queue(self, job: AnalysisJob) -> AnalysisQueue | None:
        key = queue_key(job)
        return self.store.queues.get(key) if key is not None else None

    def _schedule(self, uid: str, at: datetime) -> None:
        if self._due.get(uid) != at:
            self._due[uid] = at
            heapq.heappush(self._heap, (at, uid))
            if self._heap[0] == (at, uid):
                self._sooner.set()

    # --- purging ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never returns."""
        while True:
            now = self.writer.now()
            uid = self._pop(now) if now >= self._api.until else None
            if uid is None:
                await self._wait(now)
            elif await self._purge_guarded(uid, now):
                await asyncio.sleep(1 / PURGES_PER_SECOND)
            else:
                await asyncio.sleep(0)  # thousands may be put off in a row

    def _pop(self, now: datetime) -> str | None:
        while self._heap and self._heap[0][0] <= now:
            at, uid = heapq.heappop(self._heap)
            if self._due.get(uid) == at:
                del self._due[uid]
                return uid
        return None

    async def _wait(self, now: datetime) -> None:
        moments = [max(self._heap[0][0], self._api.until)] if self._heap else []
        seconds = min([LONGEST_WAIT_SECONDS, *((moment - now).total_seconds() for moment in moments)])
        self._sooner.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.001, seconds)):
                await self._sooner.wait()

    async def _purge_guarded(self, uid: str, now: datetime) -> bool:
        """Whether it counts as one of the deletions that are bounded to so many a second."""
        job = self.store.jobs.get(uid)
        at = purge_at(job, self._queue(job)) if job is not None else None
        # A slot that is still held is looked at again when it is released: the store calls `look` then.
        if job is None or at is None or self.store.reserved(uid):
            return False
        if at > now:
            self._schedule(uid, at)
            return False
        try:
            if not await self._remove_logs(job, at, now):
                return False
            await self._delete(job)
        except (ApiError, Unreachable) as error:
            self._api.failed(now)
            log.warning("AnalysisJob %s/%s could not be purged and is tried again: %s", job.metadata.namespace,
                        job.metadata.name, error, extra=job_fields(job))  # fmt: skip
            self._schedule(uid, now + self._backoff(uid))
        else:
            self._api.failures = 0
            self._failures.pop(uid, None)
        return True

    async def _delete(self, job: AnalysisJob) -> None:
        """Delete the very version that the decision read; one that changed meanwhile is decided again."""
        if self.store.jobs.get(job.uid) is not job:
            self.look(job.uid)
            return
        try:
            await self.client.delete(
                ANALYSIS_JOBS, job.metadata.name, job.metadata.namespace,
                uid=job.uid, resource_version=job.metadata.resource_version, before_send=self.writer.fence,
            )  # fmt: skip
        except Conflict:
            await self.writer.read(job)
            self.look(job.uid)
        except NotFound:
            self.store.remove_job(job.uid)
        else:
            log.info("AnalysisJob %s/%s: purged (%s since %s)", job.metadata.namespace, job.metadata.name,
                     job.status.phase, job.status.finished_at, extra=job_fields(job))  # fmt: skip

    def _backoff(self, uid: str) -> timedelta:
        failures = self._failures[uid] = self._failures.get(uid, 0) + 1
        return timedelta(seconds=BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1])

    # --- archived logs ---------------------------------------------------------------------------------------

    async def _remove_logs(self, job: AnalysisJob, at: datetime, now: datetime) -> bool:
        """Whether the job may be deleted: its logs are removed, or the store failed for too long."""
        name = f"{job.metadata.namespace}/{job.metadata.name}"
        for place, named in self._places(job).items():
            pause = self._stores.setdefault(place, _Pause())
            next_try = pause.until
            if now >= pause.until:
                try:
                    await self.logs.remove(place, job.job_id)
                except Unusable as error:
                    if not named:
                        continue
                    problem: LogStoreError = error
                except LogStoreError as error:
                    problem = error
                else:
                    pause.failures = 0
                    continue
                pause.failed(now)
                next_try = now + self._backoff(job.uid)
                log.warning(
                    "Archived logs of AnalysisJob %s are still to be removed: %s", name, problem, extra=job_fields(job)
                )
            if now < at + STORE_GRACE:
                self._schedule(job.uid, next_try)
                return False
            log.error(
                "AnalysisJob %s is purged though its archived logs could not be removed in a day: remove"
                " %s/jobs/%s/attempts/*/worker.log by hand", name, place.url, job.job_id, extra=job_fields(job),
            )  # fmt: skip
        return True

    def _places(self, job: AnalysisJob) -> dict[Place, bool]:
        """Stores in which logs of the job may be, and whether its status names them there."""
        if not may_have_logs(job):
            return {}
        queue = self._queue(job)
        own = place_of(queue) if queue is not None else None
        places: dict[Place, bool] = {}
        if self.archiving and own is not None:
            # A log that a crash kept out of the status, or of an attempt that is no longer there.
            places[own] = False
        for entry in job.status.attempts:
            root = root_of(entry.log_url) if entry.log_url is not None else None
            if root is not None:
                named = own if own is not None and own.url == root else Place(root, job.metadata.namespace)
                places[named] = True
        return places
