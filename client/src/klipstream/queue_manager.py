"""The guide's names for what AsyncClient does, for code that was written after the guide."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from klipstream.async_client import AsyncClient
from klipstream.errors import ApiError
from klipstream.models import Priority as JobPriority

__all__ = ["JobPriority", "QueueManager", "QueuedJob"]


@dataclass
class QueuedJob:
    """A submission. `job_id` is the caller's own name: it makes one job of several submissions, and finds it again.
    Once submitted, `id` is the id that the gateway gave it."""

    job_id: str
    video_id: str
    video_url: str
    priority: JobPriority = JobPriority.NORMAL
    queued_at: datetime | None = None
    callback_url: str | None = None
    metadata: Mapping[str, str] | None = None
    id: str | None = None


class QueueManager:
    """Connects anew for each call, so that it can be made anywhere and needs no closing."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None) -> None:
        self._settings = (base_url, api_key)
        self.last_error: ApiError | None = None
        """Why the last submission was refused."""

    async def enqueue_job(self, job: QueuedJob) -> bool:
        """Submit a job; whether the queue took it. Sets `job.id`, or `last_error`."""
        self.last_error = None
        try:
            async with AsyncClient(*self._settings) as client:
                submitted = await client.submit(
                    job.video_url, video_id=job.video_id, priority=job.priority, reference=job.job_id,
                    callback_url=job.callback_url, metadata=job.metadata, idempotency_key=job.job_id,
                )  # fmt: skip
        except ApiError as error:
            self.last_error = error
            return False
        job.id = submitted.job_id
        return True

    async def get_queue_status(self) -> dict[str, Any]:
        """Figures of all queues together, by their names in the guide."""
        async with AsyncClient(*self._settings) as client:
            return (await client.queue_status()).model_dump(mode="json")

    async def get_queue_metrics(self) -> dict[str, Any]:
        """The guide's metrics."""
        async with AsyncClient(*self._settings) as client:
            return (await client.queue_metrics()).model_dump(mode="json")
