"""The order in which waiting jobs start: strict priority, then first in, first out."""

from typing import NamedTuple

from klipstream_api import AnalysisJob


class Rank(NamedTuple):
    """Sort key of a waiting job; the smallest starts first (guide, "Queue Positioning").

    The sequence decides within a priority and not the creation time, which is granular to one second.
    """

    negative_priority: int
    sequence: int
    uid: str


def rank(job: AnalysisJob) -> Rank:
    """Rank of an accepted job. Raises ValueError for a job that has no sequence yet."""
    if job.status.sequence is None:
        raise ValueError(f"AnalysisJob {job.metadata.name} was not accepted yet, so it has no place in the order")
    return Rank(-job.spec.priority.value_number, job.status.sequence, job.uid)
