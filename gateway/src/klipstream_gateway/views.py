"""From custom resources to what the API answers (pure)."""

from datetime import datetime
from urllib.parse import urlsplit, urlunsplit

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, Priority, Stage, guide_status, names
from klipstream_api.meta import condition
from klipstream_gateway.answers import (
    AttemptView,
    Estimate,
    FailureView,
    JobState,
    JobStatusView,
    JobView,
    Links,
    ProgressView,
    Range,
    Submitted,
    WhatIf,
)
from klipstream_gateway.cache import Cache
from klipstream_gateway.forecast import Forecasts
from klipstream_gateway.why import why_waiting
from klipstream_queueing.outlook import Outlook

TENANT_LABEL = f"{names.GROUP}/tenant"
JOB_ID_LABEL = f"{names.GROUP}/job-id"
REFERENCE_ANNOTATION = f"{names.GROUP}/reference"
SUBMITTER_ANNOTATION = f"{names.GROUP}/submitted-by"
PAYLOAD_ANNOTATION = f"{names.GROUP}/payload-sha256"


def tenant_of(job: AnalysisJob) -> str | None:
    """The tenant that submitted a job through a gateway."""
    return job.metadata.labels.get(TENANT_LABEL)


def estimate_view(outlook: Outlook | None) -> Estimate | None:
    """The estimate of an outlook; whole seconds, since more would pretend."""
    if outlook is None:
        return None
    return Estimate(
        start=_range(outlook.start_p50_seconds, outlook.start_p90_seconds),
        finish=_range(outlook.finish_p50_seconds, outlook.finish_p90_seconds),
        basis=outlook.basis,
        samples=outlook.runs,
    )


def _updated_at(job: AnalysisJob) -> datetime | None:
    status = job.status
    posted = status.progress.updated_at if status.progress is not None else None
    moments = (job.metadata.creation_timestamp, status.queued_at, status.started_at, posted, status.finished_at)
    return max((moment for moment in moments if moment is not None), default=None)


def _range(p50: float | None, p90: float | None) -> Range | None:
    if p50 is None or p90 is None:
        return None
    return Range(p50_seconds=round(p50), p90_seconds=round(max(p50, p90)))


def progress_view(job: AnalysisJob, outlook: Outlook | None) -> ProgressView:
    """The progress of a job: 0 % and Queued before its first attempt posts any, 100 % once it succeeded."""
    status, progress = job.status, job.status.progress
    if status.phase is Phase.SUCCEEDED:
        return ProgressView(percentage=100.0, current_stage=Stage.COMPLETED, estimated_completion_seconds=0.0)
    left = outlook.finish_p50_seconds if outlook is not None and outlook.position is None else None
    if progress is None or (progress.attempt != status.attempt and status.finished_at is None):
        return ProgressView(percentage=0.0, current_stage=Stage.QUEUED, estimated_completion_seconds=_whole(left))
    running = status.phase in (Phase.STARTING, Phase.RUNNING)
    return ProgressView(
        percentage=progress.percentage,
        current_stage=progress.stage,
        estimated_completion_seconds=_whole(left) if running else None,
    )


def _whole(seconds: float | None) -> float | None:
    return None if seconds is None else float(round(seconds))


def job_links(job_id: str) -> Links:
    """Where a job is found."""
    base = f"/api/v1/jobs/{job_id}"
    return Links(self=base, status=f"{base}/status", events=f"{base}/events", cancel=f"{base}/cancel")


class Views:
    """Makes views with positions and estimates from the cache."""

    def __init__(self, cache: Cache, forecasts: Forecasts) -> None:
        self._cache, self._forecasts = cache, forecasts

    def status(self, job: AnalysisJob, what_if: Priority | None = None) -> JobStatusView:
        """What anybody who knows the id may see."""
        spec, status = job.spec, job.status
        outlook = self._forecasts.of(job)
        waits = status.phase is Phase.QUEUED
        start = outlook.start_p50_seconds if outlook is not None and waits else None
        last = status.attempts[-1] if status.attempts else None
        failed = last is not None and last.failure_class is not None
        return JobStatusView(
            job_id=job.job_id,
            video_id=spec.video_id,
            status=JobState(guide_status(status.phase)),
            priority=spec.priority,
            queue=self._cache.queue_name(job),
            progress=progress_view(job, outlook),
            position=outlook.position if outlook is not None and waits else None,
            estimated_wait_seconds=_whole(start),
            estimate=estimate_view(outlook),
            attempt=status.attempt,
            failure=FailureView(failure_class=last.failure_class, reason=last.reason) if last and failed else None,
            created_at=job.metadata.creation_timestamp,
            queued_at=status.queued_at,
            started_at=status.started_at,
            next_attempt_at=status.next_attempt_at,
            finished_at=status.finished_at,
            updated_at=_updated_at(job),
            what_if=self._what_if(job, what_if) if what_if is not None else None,
        )

    def job(self, job: AnalysisJob) -> JobView:
        """What the job's owner may see."""
        spec, status = job.spec, job.status
        shown = self.status(job)
        queue = self._cache.queues.get(shown.queue) if shown.queue is not None else None
        finished = condition(status.conditions, "Finished")
        callback = spec.callback
        return JobView(
            **dict(shown),
            reference=job.metadata.annotations.get(REFERENCE_ANNOTATION),
            video_url=without_query(spec.video_url) if spec.video_url is not None else None,
            type=spec.type,
            params=dict(spec.params or {}),
            callback_host=urlsplit(callback.url).hostname if callback is not None else None,
            sealed=spec.sealed is not None,
            tenant=tenant_of(job),
            submitted_by=job.metadata.annotations.get(SUBMITTER_ANNOTATION),
            max_retries=spec.max_retries,
            retries=status.retries,
            timeout_seconds=spec.timeout_seconds,
            attempts=tuple(
                AttemptView(
                    attempt=each.attempt,
                    started_at=each.started_at,
                    finished_at=each.finished_at,
                    failure_class=each.failure_class,
                    reason=each.reason,
                    exit_code=each.exit_code,
                    message=each.message,
                    log_archived=each.log_url is not None,
                )
                for each in status.attempts
            ),
            why_waiting=why_waiting(job, queue, shown.position, self._cache.now()),
            message=finished.message or None if finished is not None and finished.status == "True" else None,
            result_url=status.result_url,
            failure_fingerprint=status.failure_fingerprint,
        )

    def submitted(self, job: AnalysisJob) -> Submitted:
        """The answer to a submission."""
        view = self.status(job)
        return Submitted(
            job_id=view.job_id,
            status=view.status,
            queue=view.queue,
            priority=view.priority,
            position=view.position,
            estimated_wait_seconds=view.estimated_wait_seconds,
            estimate=view.estimate,
            created_at=view.created_at,
            links=job_links(view.job_id),
        )

    def _what_if(self, job: AnalysisJob, priority: Priority) -> WhatIf:
        if job.status.phase is not Phase.QUEUED:
            return WhatIf(priority=priority, position=None, estimate=None)
        outlook = self._forecasts.of(job, priority)
        position = outlook.position if outlook is not None else None
        return WhatIf(priority=priority, position=position, estimate=estimate_view(outlook))


def without_query(url: str) -> str:
    """A URL without user name, query and fragment: these may hold what is secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return ""


def queue_message(queue: AnalysisQueue) -> str | None:
    """What keeps a queue from starting jobs."""
    ready = condition(queue.status.conditions, "Ready")
    return ready.message or None if ready is not None and ready.status == "False" else None
