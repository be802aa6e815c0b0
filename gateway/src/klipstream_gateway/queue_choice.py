"""Which queues an operation is about (pure)."""

from klipstream_api import AnalysisQueue, names
from klipstream_gateway.cache import Cache
from klipstream_gateway.problems import Problem, Refused


def queues_asked(cache: Cache, name: str | None) -> list[AnalysisQueue]:
    """The queue of that name, or all of them by name where none is given. Raises Refused."""
    if name is None:
        return [cache.queues[each] for each in sorted(cache.queues)]
    queue = cache.queues.get(name)
    if queue is None:
        raise Refused(Problem.QUEUE_NOT_FOUND, f"There is no queue {name}.")
    return [queue]


def queue_asked(cache: Cache, name: str | None) -> AnalysisQueue:
    """The queue of that name, else the one called "default", else the only one. Raises Refused."""
    if name is None and names.DEFAULT_QUEUE in cache.queues:
        name = names.DEFAULT_QUEUE
    found = queues_asked(cache, name)
    if len(found) != 1:
        what = "There are several queues: say which by ?queue=." if found else "There is no queue."
        raise Refused(Problem.QUEUE_NOT_FOUND, what)
    return found[0]
