"""What workers wrote: read from a pod while it is there, later from the archive of failed attempts."""

import logging
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from klipstream_api import AnalysisJob, names
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_gateway.problems import Problem, Refused
from klipstream_kube import ApiError, NotFound
from klipstream_results.logs import LogStore, LogStoreError, Place, root_of

log = logging.getLogger(__name__)
LOG_BYTES = 1_048_576
"""Longest log that is answered: its end."""


@dataclass(slots=True)
class WorkerLogs:
    """Logs of the attempts of one namespace's jobs."""

    cluster: Cluster
    cache: Cache
    store: LogStore

    async def read(self, job: AnalysisJob, attempt: int | None, tail: int) -> str:
        """The last lines of an attempt, of the last one where None. Raises Refused, ApiError and Unreachable."""
        attempt = attempt or job.status.attempt
        if attempt == 0:
            raise Refused(Problem.LOG_NOT_FOUND, "No attempt has begun.")
        archived = any(each.attempt == attempt and each.log_url is not None for each in job.status.attempts)
        for pod in reversed(await self.cluster.pods_of(job, attempt)):
            try:
                return await self._of_pod(pod, tail)
            except NotFound:
                continue
            except ApiError as error:
                if error.status == HTTPStatus.BAD_REQUEST:
                    raise Refused(Problem.LOG_NOT_FOUND, f"The worker of attempt {attempt} has not begun.") from error
                # The node does not answer, and may never do so again.
                if not archived:
                    raise
        return _last_lines(await self._archived(job, attempt), tail)

    async def _of_pod(self, pod: str, tail: int) -> str:
        """The end of what it said, of its last `tail` lines; where that is too much, from the beginning of a line."""
        chunks, size, cut = deque[bytes](), 0, False
        log = self.cluster.client.log(
            pod, self.cluster.namespace, container=names.WORKER_CONTAINER, tail_lines=tail
        )  # fmt: skip
        async with aclosing(log) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                size += len(chunk)
                while size - len(chunks[0]) > LOG_BYTES:
                    size -= len(chunks.popleft())
                    cut = True
        text = b"".join(chunks)
        if cut or size > LOG_BYTES:
            text = text[-LOG_BYTES:]
            text = text.partition(b"\n")[2] or text
        return _text(text)

    async def _archived(self, job: AnalysisJob, attempt: int) -> str:
        """Only from the place that the job's queue names: a URL in a status is not enough to read what it names."""
        entry = next((each for each in job.status.attempts if each.attempt == attempt), None)
        if entry is None or entry.log_url is None:
            raise Refused(Problem.LOG_NOT_FOUND, f"The pod of attempt {attempt} is gone, and its log is not archived.")
        queue = self.cache.queues.get(job.status.queue_name or "")
        results = queue.spec.results if queue is not None else None
        if results is None or root_of(entry.log_url) != results.url.rstrip("/"):
            raise Refused(Problem.LOG_NOT_FOUND, f"It is archived at {entry.log_url}, no longer a place of its queue.")
        place = Place(results.url.rstrip("/"), self.cluster.namespace, results.claim_name)
        try:
            return _text(await self.store.read(place, job.job_id, attempt, LOG_BYTES))
        except LogStoreError as error:
            log.warning("The archived log %s cannot be read: %s", entry.log_url, error)
            raise Refused(
                Problem.LOG_NOT_FOUND, f"It is archived at {entry.log_url}, which cannot be read from here."
            ) from error


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _last_lines(text: str, count: int) -> str:
    return "".join(text.splitlines(keepends=True)[-count:])
