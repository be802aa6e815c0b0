"""The spans that a status write completes: the wait for a slot, the attempt, and the whole life of a job (pure)."""

from collections.abc import Mapping
from datetime import datetime

from klipstream_api import FINISHED_PHASES, AnalysisJob, AnalysisJobStatus, Attempt, Phase, names
from klipstream_operator.status_diff import ended_attempts
from klipstream_operator.statuses import waiting_since
from klipstream_service.trace_context import JobTrace, Span


def trace_of(job: AnalysisJob, sequence: int | None, ratio: float) -> JobTrace:
    """The trace of a job in the life that began with a sequence."""
    return JobTrace.of(job.uid, job.metadata.annotations.get(names.TRACEPARENT_ANNOTATION), sequence, ratio)


def spans_of(job: AnalysisJob, after: AnalysisJobStatus, ratio: float) -> tuple[Span, ...]:
    """What ended when a status was written; `job` is what it replaced."""
    before, trace = job.status, trace_of(job, after.sequence, ratio)
    about = {
        "klipstream.job_id": job.job_id, "k8s.namespace.name": job.metadata.namespace,
        "klipstream.job": job.metadata.name, "klipstream.queue": after.queue_name or "",
    }  # fmt: skip
    found: list[Span] = []
    if after.phase is Phase.STARTING and before.phase is Phase.QUEUED and after.started_at is not None:
        began = waiting_since(before) or after.started_at
        context = trace.part(f"wait {after.attempt} {after.started_at.isoformat()}")
        attributes = about | {"klipstream.attempt": after.attempt, "klipstream.priority": job.spec.priority.value}
        found.append(Span("admission wait", context, trace.whole.span_id, *_in_order(began, after.started_at),
                          attributes=attributes))  # fmt: skip
    found += [_attempt(entry, trace, about) for entry in ended_attempts(before, after)]
    if after.phase in FINISHED_PHASES and before.phase not in FINISHED_PHASES and after.finished_at is not None:
        began = after.queued_at or job.metadata.creation_timestamp or after.finished_at
        failed = after.phase in (Phase.FAILED, Phase.REJECTED)
        reason = next((c.message for c in after.conditions if c.type == "Finished"), "") if failed else None
        found.append(Span("analysis", trace.whole, trace.parent_id, *_in_order(began, after.finished_at),
                          attributes=about | {"klipstream.phase": after.phase.value}, error=reason))  # fmt: skip
    return tuple(found)


def _attempt(entry: Attempt, trace: JobTrace, about: Mapping[str, str]) -> Span:
    assert entry.finished_at is not None
    attributes: dict[str, str | int | float] = {**about, "klipstream.attempt": entry.attempt}
    if entry.failure_class is not None:
        attributes |= {"klipstream.failure_class": entry.failure_class.value, "klipstream.reason": entry.reason or ""}
    if entry.exit_code is not None:
        attributes["klipstream.exit_code"] = entry.exit_code
    return Span(
        "attempt", trace.attempt(entry.attempt), trace.whole.span_id,
        *_in_order(entry.started_at or entry.finished_at, entry.finished_at), attributes=attributes,
        error=(entry.message or "") if entry.failure_class is not None else None,
    )  # fmt: skip


def _in_order(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """A clock that was set back must not make a span end before it began."""
    return min(start, end), end
