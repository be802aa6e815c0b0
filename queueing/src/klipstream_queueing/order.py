"""The order in which waiting jobs start: strict priority, then first in, first out."""

from typing import NamedTuple

from klipstream_api import AnalysisJob, Priority


class Rank(NamedTuple):
    """Sort key of a waiting job; the smallest starts first (guide, "Queue Positioning").

    The sequence decides within a priority and not the creation time, which is granular to one second.
    """

    negative_priority: int
    sequence: int
    uid: str

    @property
    def priority_value(self) -> int:
        """4 for URGENT down to 1 for LOW."""
        return -self.negative_priority


def priority_of(job: AnalysisJob) -> Priority:
    """The priority that decides: the job's own, or the higher one that aging raised it to."""
    aged = job.status.effective_priority
    return aged if aged is not None and aged.value_number > job.spec.priority.value_number else job.spec.priority


def rank(job: AnalysisJob) -> Rank:
    """Rank of an accepted job. Raises ValueError for a job that has no sequence yet."""
    if job.status.sequence is None:
        raise ValueError(f"AnalysisJob {job.metadata.name} was not accepted yet, so it has no place in the order")
    return Rank(-priority_of(job).value_number, job.status.sequence, job.uid)
