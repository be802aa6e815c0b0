"""The limits of a queue."""

from dataclasses import dataclass

from klipstream_api import AnalysisQueue
from klipstream_gateway.answers import QueueConfigView
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.queue_choice import queue_asked
from klipstream_gateway.requests import QueueConfig
from klipstream_gateway.routes import Answer, Call


@dataclass(slots=True)
class QueueConfiguration:
    """Handlers of the routes about limits."""

    cluster: Cluster
    cache: Cache

    async def configure(self, call: Call) -> Answer:
        """Change limits of a queue: of the one that `?queue=` names, else of `default`, else of the only one. What
        runs goes on in any case."""
        config: QueueConfig = call.body
        changes = config.model_dump(mode="json", exclude_none=True)
        if not changes:
            raise Refused(Problem.INVALID, "Name at least one limit to change.")
        queue = queue_asked(self.cache, call.query.queue)
        wire = {
            "max_concurrent_jobs": "maxConcurrentJobs",
            "max_queue_size": "maxQueueSize",
            "timeout_seconds": "timeoutSeconds",
            "max_retries": "maxRetries",
            "retry_delays_seconds": "retryDelaysSeconds",
        }
        queue = await self.cluster.change_queue(queue, {"spec": {wire[name]: each for name, each in changes.items()}})
        return Answer(_config(queue))

    async def config(self, call: Call) -> Answer:
        """The limits of a queue: of the one that `?queue=` names, else of `default`, else of the only one."""
        return Answer(_config(queue_asked(self.cache, call.query.queue)))


def _config(queue: AnalysisQueue) -> QueueConfigView:
    spec = queue.spec
    return QueueConfigView(
        queue=queue.metadata.name,
        max_concurrent_jobs=spec.max_concurrent_jobs,
        max_queue_size=spec.max_queue_size,
        timeout_seconds=spec.timeout_seconds,
        max_retries=spec.max_retries,
        retry_delays_seconds=spec.retry_delays_seconds,
    )
