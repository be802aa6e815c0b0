"""The limits that hold for one job: its own where it sets them, otherwise its queue's."""

from dataclasses import dataclass

from klipstream_api import AnalysisJob, AnalysisQueue, AnalysisQueueSpec
from klipstream_api.analysisqueue import NodeLost, WorkerTemplate

_DEFAULTS = AnalysisQueueSpec(worker_template=WorkerTemplate(spec={}))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one job."""

    timeout_seconds: int
    max_retries: int
    retry_delays_seconds: tuple[int, ...]
    node_lost: NodeLost

    def retry_delay_seconds(self, retry: int) -> int:
        """Seconds before the given retry, counted from 1; the last delay repeats."""
        return self.retry_delays_seconds[min(retry, len(self.retry_delays_seconds)) - 1]


def spec_of(queue: AnalysisQueue | None) -> AnalysisQueueSpec:
    """The queue's spec; the documented defaults stand in for a queue that was deleted."""
    return _DEFAULTS if queue is None else queue.spec


def limits_of(job: AnalysisJob, queue: AnalysisQueue | None) -> Limits:
    """The limits of a job."""
    spec = spec_of(queue)
    own = job.spec
    return Limits(
        timeout_seconds=own.timeout_seconds if own.timeout_seconds is not None else spec.timeout_seconds,
        max_retries=own.max_retries if own.max_retries is not None else spec.max_retries,
        retry_delays_seconds=own.retry_delays_seconds or spec.retry_delays_seconds,
        node_lost=spec.node_lost,
    )
