"""Why a job has not started, as the API answers it (pure)."""

from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.meta import rfc3339
from klipstream_gateway.answers import WaitReason
from klipstream_queueing.waiting import reasons


def why_waiting(
    job: AnalysisJob, queue: AnalysisQueue | None, position: int | None, now: datetime
) -> tuple[WaitReason, ...]:
    """Every reason, the one that weighs most first; empty for a job that does not wait."""
    found = reasons(job, queue, position, now, lambda moment: f"at {rfc3339(moment)}")
    return tuple(WaitReason(code=reason.code, message=reason.message) for reason in found)
