"""The client without asyncio: the same methods."""

import contextlib
import math
import time
from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from klipstream import environment, operations
from klipstream.errors import ApiError, NotFound, RateLimited, Unavailable, WaitTimedOut, error_of
from klipstream.event_stream import STREAM_SILENT_SECONDS, EventReader
from klipstream.models import (
    Acts,
    Job,
    JobPage,
    JobStatus,
    Priority,
    QueueConfig,
    QueueMetrics,
    QueueStatus,
    State,
    Submitted,
)
from klipstream.operations import A, Operation
from klipstream.retrying import Retries


class Client:
    """Talks to a gateway. Use it as a context manager, or close it.

    Without arguments it reads KLIPSTREAM_URL and KLIPSTREAM_API_KEY. Every request is sent again after a lost answer,
    a 503 or a 429, as `retries` allows; a submission makes one job even so. Calls raise ApiError.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 40.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = retries or Retries()
        self._http = httpx.Client(
            base_url=environment.address(base_url),
            headers=environment.headers(api_key),
            timeout=timeout_seconds,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def submit(
        self,
        video_url: str,
        *,
        video_id: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        queue: str | None = None,
        type: str | None = None,
        reference: str | None = None,
        callback_url: str | None = None,
        callback_secret: str | None = None,
        callback_token: str | None = None,
        params: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout_seconds: int | None = None,
        max_retries: int | None = None,
        not_before: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Submitted:
        """Submit a video. It is stored when this returns; `idempotency_key` makes one job of several calls."""
        operation = operations.submit(
            video_url, video_id=video_id, priority=priority, queue=queue, type=type, reference=reference,
            callback_url=callback_url, callback_secret=callback_secret, callback_token=callback_token, params=params,
            metadata=metadata, timeout_seconds=timeout_seconds, max_retries=max_retries, not_before=not_before,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        return self._send(operation)

    def status(self, job_id: str, what_if: Priority | str | None = None) -> JobStatus:
        """The state of a job; with `what_if` as well where it would be at that priority."""
        return self._send(operations.status(job_id, what_if))

    def get(self, job_id: str) -> Job:
        """A job with its attempts, and why it waits."""
        return self._send(operations.get(job_id))

    def page(
        self,
        *,
        status: State | str | None = None,
        queue: str | None = None,
        priority: Priority | str | None = None,
        video_id: str | None = None,
        reference: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """One page of jobs, the latest first."""
        operation = operations.jobs(
            status=status, queue=queue, priority=priority, video_id=video_id, reference=reference, limit=limit,
            cursor=cursor,
        )  # fmt: skip
        return self._send(operation)

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job; one that runs takes some seconds to end."""
        return self._send(operations.cancel(job_id))

    def retry(self, job_id: str) -> JobStatus:
        """Run a failed job again."""
        return self._send(operations.retry(job_id))

    def prioritize(self, job_id: str, priority: Priority | str) -> JobStatus:
        """Give a waiting job another priority."""
        return self._send(operations.prioritize(job_id, priority))

    def queue_status(self, queue: str | None = None) -> QueueStatus:
        """What the queues do."""
        return self._send(operations.queue_status(queue))

    def queue_metrics(self, queue: str | None = None) -> QueueMetrics:
        """The guide's figures."""
        return self._send(operations.queue_metrics(queue))

    def administer(self, act: str, queue: str | None = None) -> Acts:
        """pause, resume, drain, clear, clear-stuck, restart or reconcile a queue, or all of them."""
        return self._send(operations.administer(act, queue))

    def configure(self, queue: str | None = None, **limits: Any) -> QueueConfig:
        """Change limits of a queue: max_concurrent_jobs, max_queue_size, timeout_seconds, max_retries,
        retry_delays_seconds."""
        return self._send(operations.configure(queue, **limits))

    def follow(self, job_id: str) -> Iterator[JobStatus]:
        """The job's status now and after each change, until it is finished. A lost connection is opened again. Raises
        NotFound where the job is removed meanwhile."""
        return self._follow(job_id, None)

    def _follow(self, job_id: str, deadline: float | None) -> Iterator[JobStatus]:
        reader = EventReader()
        tries = 0
        while True:
            try:
                with contextlib.closing(self._events(job_id, reader, deadline)) as statuses:
                    for status in statuses:
                        tries = 0
                        if status is None:
                            continue
                        yield status
                        if status.status.is_final:
                            return
                error: ApiError = Unavailable(0, "no-answer", "the stream ended before the job did")
            except ApiError as caught:
                error = caught
            tries += 1
            seconds = self._retries.wait_seconds(error, tries)
            passing = isinstance(error, Unavailable | RateLimited)
            if passing and deadline is not None and time.monotonic() + (seconds or 0.0) >= deadline:
                raise _too_late(job_id) from error
            if seconds is None:
                raise error
            time.sleep(seconds)

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> JobStatus:
        """The status once the job is finished. Raises WaitTimedOut after `timeout_seconds`; the job goes on.

        A wait of more than 45 s may end up to 15 s late, as it ends with a sign of life, or 45 s where none comes.
        """
        deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
        for status in self._follow(job_id, deadline):
            if status.status.is_final:
                return status
        raise AssertionError("a stream ends with a final status, or raises")

    def _events(
        self, job_id: str, reader: EventReader, deadline: float | None
    ) -> Generator[JobStatus | None, None, None]:
        """The statuses of one connection; None first, once the gateway answers."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": reader.last_id} if reader.last_id else {})
        left = deadline - time.monotonic() if deadline is not None else math.inf
        if left <= 0:
            raise _too_late(job_id)
        timeout = httpx.Timeout(min(40.0, left), read=min(STREAM_SILENT_SECONDS, left))
        try:
            with self._http.stream(
                "GET", operations.job(job_id, "/events"), headers=headers, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    raise error_of(answer.status_code, answer.read(), answer.headers.get("Retry-After"))
                yield None
                for line in answer.iter_lines():
                    # Lines come at least every 15 s, as signs of life.
                    if deadline is not None and time.monotonic() > deadline:
                        raise _too_late(job_id)
                    event = reader.line(line)
                    if event is None:
                        continue
                    if event.event == "deleted":
                        raise NotFound(404, "job-not-found", f"the job {job_id} was removed")
                    if event.event == "job":
                        yield JobStatus.model_validate_json(event.data)
        except httpx.TransportError as error:
            raise Unavailable(0, "no-answer", f"{type(error).__name__}: {error}") from error

    def _send(self, operation: Operation[A]) -> A:
        tries = 0
        while True:
            try:
                answer = self._http.request(
                    operation.method, operation.path, params=dict(operation.query), json=operation.body,
                    headers=dict(operation.headers),
                )  # fmt: skip
                if answer.is_success:
                    return operation.model.model_validate_json(answer.content)
                error = error_of(answer.status_code, answer.content, answer.headers.get("Retry-After"))
            except httpx.TransportError as lost:
                error = Unavailable(0, "no-answer", f"{type(lost).__name__}: {lost}")
            tries += 1
            seconds = self._retries.wait_seconds(error, tries)
            if seconds is None:
                raise error
            time.sleep(seconds)


def _too_late(job_id: str) -> WaitTimedOut:
    return WaitTimedOut(f"job {job_id} was not finished in the time given")
