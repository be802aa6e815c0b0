"""The operations as requests: what both clients send, and what they read from the answer (pure)."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from klipstream.models import (
    Acts,
    Answer,
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

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class Operation(Generic[A]):
    """One request. All of them may be sent again after a lost answer: a submission carries an Idempotency-Key, and
    the others come to the same the second time."""

    method: str
    path: str
    model: type[A]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def submit(
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
) -> Operation[Submitted]:
    """Submit a video."""
    body = {
        "video_url": video_url,
        "video_id": video_id,
        "priority": Priority(priority).value,
        "queue": queue,
        "type": type,
        "reference": reference,
        "callback_url": callback_url,
        "callback_secret": callback_secret,
        "callback_token": callback_token,
        "params": dict(params) if params is not None else None,
        "metadata": dict(metadata) if metadata is not None else None,
        "timeout_seconds": timeout_seconds,
        "max_retries": max_retries,
        "not_before": not_before.isoformat() if not_before is not None else None,
    }
    return Operation(
        "POST",
        "/api/v1/analysis",
        Submitted,
        body={name: value for name, value in body.items() if value is not None},
        headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
    )


def job(job_id: str, action: str = "") -> str:
    """The path of a job, or of something of it."""
    return f"/api/v1/jobs/{quote(job_id, safe='')}{action}"


def status(job_id: str, what_if: Priority | str | None = None) -> Operation[JobStatus]:
    """The state of a job."""
    query = {"priority": Priority(what_if).value} if what_if is not None else {}
    return Operation("GET", job(job_id, "/status"), JobStatus, query)


def get(job_id: str) -> Operation[Job]:
    """A job with its attempts."""
    return Operation("GET", job(job_id), Job)


def jobs(
    *,
    status: State | str | None = None,
    queue: str | None = None,
    priority: Priority | str | None = None,
    video_id: str | None = None,
    reference: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Operation[JobPage]:
    """One page of jobs."""
    query = {
        "status": State(status).value if status is not None else None,
        "queue": queue,
        "priority": Priority(priority).value if priority is not None else None,
        "video_id": video_id,
        "reference": reference,
        "limit": str(limit),
        "cursor": cursor,
    }
    return Operation("GET", "/api/v1/jobs", JobPage, {k: v for k, v in query.items() if v is not None})


def cancel(job_id: str) -> Operation[JobStatus]:
    """Cancel a job."""
    return Operation("POST", job(job_id, "/cancel"), JobStatus)


def retry(job_id: str) -> Operation[JobStatus]:
    """Run a failed job again."""
    return Operation("POST", job(job_id, "/retry"), JobStatus)


def prioritize(job_id: str, priority: Priority | str) -> Operation[JobStatus]:
    """Give a waiting job another priority."""
    return Operation("PUT", job(job_id, "/priority"), JobStatus, body={"priority": Priority(priority).value})


def queue_status(queue: str | None = None) -> Operation[QueueStatus]:
    """What the queues do."""
    return Operation("GET", "/api/v1/queue/status", QueueStatus, _queue(queue))


def queue_metrics(queue: str | None = None) -> Operation[QueueMetrics]:
    """The guide's figures."""
    return Operation("GET", "/api/v1/queue/metrics", QueueMetrics, _queue(queue))


def administer(act: str, queue: str | None = None) -> Operation[Acts]:
    """pause, resume, drain, clear, clear-stuck, restart or reconcile."""
    return Operation("POST", f"/api/v1/queue/{act}", Acts, _queue(queue))


def configure(
    queue: str | None = None,
    *,
    max_concurrent_jobs: int | None = None,
    max_queue_size: int | None = None,
    timeout_seconds: int | None = None,
    max_retries: int | None = None,
    retry_delays_seconds: Sequence[int] | None = None,
) -> Operation[QueueConfig]:
    """Change limits of a queue."""
    body = {
        "max_concurrent_jobs": max_concurrent_jobs,
        "max_queue_size": max_queue_size,
        "timeout_seconds": timeout_seconds,
        "max_retries": max_retries,
        "retry_delays_seconds": list(retry_delays_seconds) if retry_delays_seconds is not None else None,
    }
    return Operation(
        "PUT",
        "/api/v1/queue/config",
        QueueConfig,
        _queue(queue),
        {name: value for name, value in body.items() if value is not None},
    )


def _queue(name: str | None) -> dict[str, str]:
    return {"queue": name} if name is not None else {}
