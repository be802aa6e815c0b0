"""Archived logs in the results store of a queue."""

from klipstream_api import AnalysisQueue
from klipstream_results.logs import LogStore, LogStoreError, Place, Unusable, root_of

__all__ = ["LogStore", "LogStoreError", "Place", "Unusable", "place_of", "root_of"]


def place_of(queue: AnalysisQueue) -> Place | None:
    """The results store of a queue, None where it has none."""
    results = queue.spec.results
    return None if results is None else Place(results.url.rstrip("/"), queue.metadata.namespace, results.claim_name)
