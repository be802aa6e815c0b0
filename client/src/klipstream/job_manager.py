"""The guide's progress callbacks, on top of the event stream."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from klipstream.async_client import AsyncClient
from klipstream.models import JobStatus, State


@dataclass(frozen=True)
class FollowedJob:
    """A job as the guide's callbacks read it."""

    id: str
    video_id: str | None
    status: State
    progress_percentage: float
    stage: str
    updated_at: datetime


Callback = Callable[[FollowedJob], Awaitable[None]]


@dataclass
class JobManager:
    """Calls back after each change of a job, until it is finished."""

    base_url: str | None = None
    api_key: str | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def register_progress_callback(self, job_id: str, callback: Callback) -> "asyncio.Task[None]":
        """Begin to follow a job, from within a running event loop. The task ends with the job, and raises what the
        callback raised, or ApiError; keep it to wait for it or to stop it."""
        task = asyncio.get_running_loop().create_task(self._follow(job_id, callback), name=f"progress of {job_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _follow(self, job_id: str, callback: Callback) -> None:
        async with AsyncClient(self.base_url, self.api_key) as client:
            async for status in client.follow(job_id):
                await callback(_followed(status))


def _followed(status: JobStatus) -> FollowedJob:
    return FollowedJob(
        id=status.job_id,
        video_id=status.video_id,
        status=status.status,
        progress_percentage=status.progress.percentage,
        stage=status.progress.current_stage,
        updated_at=status.updated_at or datetime.now(UTC),
    )


job_manager = JobManager()
"""The one that reads its settings from the environment."""
