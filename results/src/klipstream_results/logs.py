"""Archived logs in the results store. Its blocking calls run in two threads of their own, each for a bounded time.

The operator writes and removes them, the gateway reads them.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from klipstream_results.store import ResultStore, ResultStoreError, open_store

LOG_NAME = "worker.log"
THREADS = 2
CALL_SECONDS = 30.0

T = TypeVar("T")


class LogStoreError(Exception):
    """The store refused or did not answer; the message names the URL."""


class Unusable(LogStoreError):
    """This process cannot use the store at all: its folder is not mounted, or no file system knows its URL."""


@dataclass(frozen=True, slots=True)
class Place:
    """A results store: its URL, and for a folder the namespace and the claim that are meant by the path."""

    url: str
    namespace: str
    claim: str | None = None


def root_of(log_url: str) -> str | None:
    """The results URL under which a log was archived, None where the URL is not one of ours."""
    root, found, _ = log_url.rpartition("/jobs/")
    return root if found and log_url.endswith(f"/{LOG_NAME}") else None


@dataclass(slots=True)
class LogStore:
    """Keeps <results URL>/jobs/<job id>/attempts/<attempt>/worker.log.

    A thread cannot be stopped. One that hangs keeps its place, so that a dead store costs two threads and no more;
    being daemons they do not keep a process that wants to end, as those of asyncio.to_thread would.
    """

    claim: str | None = None
    """Namespace and name of the claim that is mounted here, as "namespace/name"."""
    call_seconds: float = CALL_SECONDS
    _calls: "queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]" = field(default_factory=queue.SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)

    async def check(self, place: Place) -> None:
        """Raise Unusable where no log could ever be written from here."""
        await self._call(place, lambda: self._open(place))

    async def write(self, place: Place, job_id: str, attempt: int, content: bytes) -> str:
        """Write the log of an attempt; its URL. Raises LogStoreError."""
        return await self._call(place, lambda: self._open(place).write_result(job_id, attempt, LOG_NAME, content))

    async def read(self, place: Place, job_id: str, attempt: int, at_most_bytes: int) -> bytes:
        """The end of the archived log of an attempt. Raises LogStoreError, also where it is not there."""
        return await self._call(place, lambda: self._open(place).read_end(job_id, attempt, LOG_NAME, at_most_bytes))

    async def remove(self, place: Place, job_id: str) -> None:
        """Remove the logs of all attempts of a job, and nothing else of it. Raises LogStoreError."""

        def remove() -> None:
            store = self._open(place)
            for attempt in filter(None, store.attempts(job_id)):
                store.delete_result(job_id, attempt, LOG_NAME)

        await self._call(place, remove)

    def _open(self, place: Place) -> ResultStore:
        """Queues of other namespaces may mean other claims by the same path, so it must be the one mounted here.

        It must be there already: without its mount, logs would be written into the container and lost.
        """
        parts = urlsplit(place.url)
        if parts.scheme == "file":
            wanted = None if place.claim is None else f"{place.namespace}/{place.claim}"
            if wanted is not None and wanted != self.claim:
                raise Unusable(f"the claim {wanted} is not mounted here")
            if self.claim is not None and self.claim.split("/")[0] != place.namespace:
                raise Unusable(
                    f"the claim {self.claim} is mounted here, which is not of the namespace {place.namespace}"
                )
            if not Path(parts.path).is_dir():
                raise Unusable(f"there is no folder {parts.path} in this process' file system")
        try:
            return open_store(place.url)
        except ResultStoreError as error:
            raise Unusable(str(error)) from error

    async def _call(self, place: Place, function: Callable[[], T]) -> T:
        while len(self._threads) < THREADS:
            thread = threading.Thread(target=self._work, name="results-store", daemon=True)
            self._threads.append(thread)
            thread.start()
        call: Future[T] = Future()
        self._calls.put((call, function))
        try:
            async with asyncio.timeout(self.call_seconds):
                return await asyncio.wrap_future(call)
        except LogStoreError:
            raise
        except ResultStoreError as error:
            raise LogStoreError(str(error)) from error
        except TimeoutError as error:
            raise LogStoreError(
                f"the results store {place.url} did not answer within {self.call_seconds:g} s"
            ) from error
        except Exception as error:  # each file system behind fsspec has errors of its own, such as botocore's
            raise LogStoreError(f"the results store {place.url}: {error or type(error).__name__}") from error

    def _work(self) -> None:
        while True:
            call, function = self._calls.get()
            if not call.set_running_or_notify_cancel():
                continue  # nobody waits for it any more
            try:
                call.set_result(function())
            except Exception as error:
                call.set_exception(error)
