"""Which queue a job goes to."""

from collections.abc import Iterable

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.names import DEFAULT_QUEUE


def route(job: AnalysisJob, queues: Iterable[AnalysisQueue]) -> str | None:
    """Name of the queue, among those of the job's namespace; None where no rule gives one.

    A named queue is taken as it is. Otherwise: the queue whose `accepts` fits most narrowly (then the first by
    name), then the one called "default", then the only queue there is. A queue that is being deleted gets
    nothing new.
    """
    if job.spec.queue_name is not None:
        return job.spec.queue_name
    here = sorted(
        (queue for queue in queues if queue.metadata.deletion_timestamp is None),
        key=lambda q: q.metadata.name,
    )
    fitting = [(narrowness, queue) for queue in here if (narrowness := _fit(job, queue)) > 0]
    if fitting:
        return max(fitting, key=lambda pair: pair[0])[1].metadata.name
    open_to_all = [queue.metadata.name for queue in here if queue.spec.accepts is None]
    if DEFAULT_QUEUE in open_to_all:
        return DEFAULT_QUEUE
    return open_to_all[0] if len(open_to_all) == 1 else None


def _fit(job: AnalysisJob, queue: AnalysisQueue) -> int:
    """0 where the queue does not ask for such a job, otherwise how many of its criteria the job meets."""
    accepts = queue.spec.accepts
    if accepts is None:
        return 0
    met = 0
    if accepts.types is not None:
        if job.spec.type not in accepts.types:
            return 0
        met += 1
    if accepts.priorities is not None:
        if job.spec.priority not in accepts.priorities:
            return 0
        met += 1
    return met
