"""Python client of the KlipStream analysis queue's REST API.

    from klipstream import Client

    with Client("https://queue.example.com", api_key="klip_…") as queue:
        job = queue.submit("https://www.twitch.tv/videos/2472774741", priority="HIGH")
        done = queue.wait(job.job_id)
        print(done.status)

`AsyncClient` has the same methods as coroutines, and `async for status in client.follow(job_id)`.
"""

from klipstream.async_client import AsyncClient
from klipstream.client import Client
from klipstream.errors import (
    ApiError,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotFound,
    RateLimited,
    Unavailable,
    WaitTimedOut,
)
from klipstream.models import (
    Estimate,
    Job,
    JobPage,
    JobStatus,
    Priority,
    QueueMetrics,
    QueueStatus,
    State,
    Submitted,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "Estimate",
    "InvalidRequest",
    "Job",
    "JobPage",
    "JobStatus",
    "NotAllowed",
    "NotFound",
    "Priority",
    "QueueMetrics",
    "QueueStatus",
    "RateLimited",
    "State",
    "Submitted",
    "Unavailable",
    "WaitTimedOut",
]
