"""Priority aging: a waiting job rises one level at a time, where its queue asks for it."""

from datetime import datetime, timedelta

from klipstream_api import AnalysisJob, Priority
from klipstream_api.analysisqueue import Aging

_BY_VALUE = {priority.value_number: priority for priority in Priority}


def aged_priority(job: AnalysisJob, aging: Aging | None, now: datetime) -> Priority:
    """The priority that a waiting job has earned: its own, one level higher for each period that it waited."""
    own = job.spec.priority
    if aging is None or job.status.queued_at is None:
        return own
    periods = (now - job.status.queued_at) // timedelta(seconds=aging.every_seconds)
    value = min(aging.up_to.value_number, own.value_number + max(0, periods))
    return _BY_VALUE[max(own.value_number, value)]


def next_rise(job: AnalysisJob, aging: Aging | None, now: datetime) -> datetime | None:
    """When a waiting job rises next; None where it will not."""
    current = aged_priority(job, aging, now)
    if aging is None or job.status.queued_at is None or current.value_number >= aging.up_to.value_number:
        return None
    levels = current.value_number - job.spec.priority.value_number + 1
    return job.status.queued_at + timedelta(seconds=aging.every_seconds) * levels
