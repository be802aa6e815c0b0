"""Keeps the end of the log of each failed attempt in the results store.

Nothing waits for it. What is left to do follows from statuses, pods and store, so a successor goes on with it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from klipstream_api import AnalysisJob, AnalysisJobStatus, AnalysisQueue, Attempt, names
from klipstream_kube import ApiError, Client, Unreachable
from klipstream_operator.log_fields import job_fields, queue_fields
from klipstream_operator.log_store import LogStore, LogStoreError, Place, Unusable, place_of
from klipstream_operator.status_writer import StatusWriter
from klipstream_operator.store import QueueKey, Store, queue_key
from klipstream_operator.transitions import Transition
from klipstream_operator.work_queue import WorkQueue
from klipstream_operator.workload import AttemptView, PodView

log = logging.getLogger(__name__)
LOG_BYTES = 2**20
"""The last MiB of a log is kept."""
TAIL_LINES = (2**20, 2**10)
"""Lines to ask the kubelet for, which counts from the end; the API cannot count bytes there (limitBytes counts from
the start). A line has at least one byte, so as many lines as bytes always hold them all. Where lines are so long that
this is more than READ_BYTES, the second number is asked for instead: runtimes break lines at 16 KiB, so that is 16 MiB
at most."""
READ_BYTES = 256 * 2**20
SETTLES_AFTER = timedelta(seconds=5)
"""The runtime may still write the log down when the pod is said to have ended."""
TIMER_SLACK_SECONDS = 0.01
"""A timer may fire a tick early, and would not fire again."""
WORKERS = 2
RETRY_SECONDS = (2, 10, 30, 120)
TRIES = len(RETRY_SECONDS) + 1


class TooLong(Exception):
    """The log does not end within READ_BYTES."""


class EmptyLog(Exception):
    """The log is empty, which is believed only when it is so again later."""


async def last_bytes(chunks: AsyncIterator[bytes], keep: int = LOG_BYTES, read_at_most: int = READ_BYTES) -> bytes:
    """The last `keep` bytes of a stream, in memory for twice as many. Raises TooLong."""
    tail, read = bytearray(), 0
    async for chunk in chunks:
        read += len(chunk)
        if read > read_at_most:
            raise TooLong
        tail += chunk
        if len(tail) > 2 * keep:
            del tail[:-keep]
    return bytes(tail[-keep:])


def to_archive(
    job: AnalysisJob, queue: AnalysisQueue | None, seen: Callable[[int], AttemptView]
) -> list[tuple[Attempt, PodView]]:
    """Failed attempts whose log is still to be archived, each with its ended pod; none without a results store."""
    if queue is None or queue.spec.results is None:
        return []
    found = []
    for entry in job.status.attempts:
        if entry.failure_class is None or entry.finished_at is None or entry.log_url is not None:
            continue
        if (pod := seen(entry.attempt).ended_pod) is not None:
            found.append((entry, pod))
    return found


def with_log(status: AnalysisJobStatus, attempt: int, log_url: str) -> AnalysisJobStatus:
    """The status with the archived log of an attempt named, where the attempt still stands in it."""
    attempts = tuple(
        entry.model_copy(update={"log_url": log_url}) if entry.attempt == attempt else entry
        for entry in status.attempts
    )
    return status.model_copy(update={"attempts": attempts})


@dataclass(slots=True)
class _Memory:
    """What this process remembers of the archiving of one log; a successor may do without."""

    failures: int = 0
    not_before: float = 0.0
    """By the event loop's clock."""
    written: str | None = None
    """URL of the log that is in the store and not yet in the status."""
    settled: bool = False
    """There is no log to archive, or it was given up."""


@dataclass(slots=True)
class LogArchive:
    """A queue of AnalysisJobs to look at, keyed by uid; at most two logs are on their way at once."""

    client: Client
    store: Store
    writer: StatusWriter
    logs: LogStore
    _work_queue: WorkQueue = field(default_factory=WorkQueue)
    _memories: dict[str, defaultdict[int, _Memory]] = field(default_factory=dict)
    """By uid and attempt."""
    _told: set[tuple[QueueKey, Place]] = field(default_factory=set)
    """Queues whose store cannot be used from here, each with the store for which that was said."""

    def look(self, uid: str) -> None:
        """Look at an AnalysisJob soon, if there may be a log to archive; called when it, or what runs for it,
        changed decisively."""
        if self._candidates(uid):
            self._work_queue.add(uid)

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            async with self._work_queue.next() as uid:
                for attempt, pod in self._candidates(uid):
                    await self._archive_guarded(uid, attempt, pod)

    def _candidates(self, uid: str) -> list[tuple[int, PodView]]:
        """Attempts whose log is to be archived now; for those of later a timer is set."""
        job = self.store.jobs.get(uid)
        if job is None:
            self._memories.pop(uid, None)
            return []
        candidates = []
        for entry, pod in to_archive(job, self._queue(job), lambda attempt: self.store.attempt((uid, attempt))):
            memory = self._memory(uid, entry.attempt)
            if memory.settled:
                continue
            assert entry.finished_at is not None
            loop = asyncio.get_running_loop()
            if not memory.not_before:
                settles_seconds = (entry.finished_at + SETTLES_AFTER - self.writer.now()).total_seconds()
                self._put_off(uid, memory, max(0.0, min(settles_seconds, SETTLES_AFTER.total_seconds())))
            if memory.not_before <= loop.time() + TIMER_SLACK_SECONDS:
                candidates.append((entry.attempt, pod))
        return candidates

    def _memory(self, uid: str, attempt: int) -> _Memory:
        return self._memories.setdefault(uid, defaultdict(_Memory))[attempt]

    def _put_off(self, uid: str, memory: _Memory, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        memory.not_before = loop.time() + seconds
        if seconds > 0:
            loop.call_at(memory.not_before, self.look, uid)

    def _queue(self, job: AnalysisJob) -> AnalysisQueue | None:
        key = queue_key(job)
        return self.store.queues.get(key) if key is not None else None

    async def _archive_guarded(self, uid: str, attempt: int, pod: PodView) -> None:
        job = self.store.jobs.get(uid)
        queue = self._queue(job) if job is not None else None
        place = place_of(queue) if queue is not None else None
        if job is None or queue is None or place is None:
            return
        memory = self._memory(uid, attempt)
        try:
            if await self._usable(queue, place):
                await self._archive(job, place, attempt, pod, memory)
        except (ApiError, Unreachable, LogStoreError, TooLong, EmptyLog) as error:
            self._failed(job, attempt, memory, error)

    def _failed(self, job: AnalysisJob, attempt: int, memory: _Memory, error: Exception) -> None:
        memory.failures += 1
        name = f"{job.metadata.namespace}/{job.metadata.name}"
        fields = job_fields(job) | {"attempt": attempt}
        if isinstance(error, ApiError) and error.status in (400, 404):
            # The container never ran, or the pod was removed with its log: by a stop, a lost node or by hand.
            memory.settled = True
            log.debug("Attempt %d of AnalysisJob %s left no log: %s", attempt, name, error, extra=fields)
        elif memory.failures < TRIES:
            log.debug("The log of attempt %d of AnalysisJob %s: %s", attempt, name, error, extra=fields)
            self._put_off(job.uid, memory, RETRY_SECONDS[memory.failures - 1])
        else:
            memory.settled = True
            log.warning("The log of attempt %d of AnalysisJob %s was not archived in %d tries: %s",
                        attempt, name, TRIES, error, extra=fields)  # fmt: skip

    async def _usable(self, queue: AnalysisQueue, place: Place) -> bool:
        """Whether the store can be used from here; if not, that is said once per queue."""
        told = (queue.key, place)
        try:
            await self.logs.check(place)
        except Unusable as problem:
            if told not in self._told:
                self._told.add(told)
                log.warning(
                    "Logs of failed attempts of AnalysisQueue %s/%s are not archived: %s. Use an s3:// URL, mount the"
                    " queue's claim there (chart: results and operator.archiveLogs=true), or turn archiving off"
                    " (operator.archiveLogs=false).", *queue.key, problem, extra=queue_fields(queue.key),
                )  # fmt: skip
            return False
        self._told.discard(told)
        return True

    async def _archive(self, job: AnalysisJob, place: Place, attempt: int, pod: PodView, memory: _Memory) -> None:
        """Read, write, record; what is in the store already is only recorded."""
        if memory.written is None:
            content = await self._read(pod)
            if not content and not memory.failures:
                raise EmptyLog("it is empty so far")
            memory.written = await self.logs.write(place, job.job_id, attempt, content)
        await self._record(job, place, attempt, memory.written)

    async def _read(self, pod: PodView) -> bytes:
        for lines in TAIL_LINES:
            chunks = self.client.log(pod.name, pod.namespace, container=names.WORKER_CONTAINER, tail_lines=lines)
            try:
                async with aclosing(chunks) as stream:
                    return await last_bytes(stream)
            except TooLong:
                continue
        raise TooLong(f"its last {TAIL_LINES[-1]} lines have more than {READ_BYTES} bytes")

    async def _record(self, job: AnalysisJob, place: Place, attempt: int, log_url: str) -> None:
        """Name the log in the status, deciding again after each conflict, as long as the attempt stands there."""
        while (current := self.store.jobs.get(job.uid)) is not None:
            status = with_log(current.status, attempt, log_url)
            if await self.writer.write(current, status, Transition.LOG_ARCHIVED):
                return
        # It was purged or deleted meanwhile, and nobody would remove its log later.
        await self.logs.remove(place, job.job_id)
