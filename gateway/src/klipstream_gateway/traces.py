"""The trace that a submission begins, or goes on with."""

from dataclasses import dataclass
from datetime import UTC, datetime

from klipstream_api import AnalysisJob
from klipstream_gateway.routes import HeaderParameter
from klipstream_service.trace_context import TRACEPARENT, Span, SpanContext, begun, parse
from klipstream_service.tracing import Tracing

# What is no traceparent is not refused: a new trace begins, as the recommendation has it.
TRACE_HEADER = HeaderParameter(
    "The caller's place in its trace (W3C Trace Context): where tracing is on, the job goes on from there, through its"
    " attempts, its workers and its webhooks.",
    r"^[\x20-\x7e]*$",
    512,
)


@dataclass(frozen=True, slots=True)
class Submitting:
    """A submission that is under way."""

    context: SpanContext
    parent_id: int | None
    began: datetime


@dataclass(frozen=True, slots=True)
class Traces:
    """A span for each submission that was taken."""

    tracing: Tracing

    def begin(self, traceparent: str | None) -> Submitting:
        """`traceparent` as the caller sent it."""
        parent = parse(traceparent)
        context = begun(parent, self.tracing.ratio)
        return Submitting(context, parent.span_id if parent is not None else None, datetime.now(UTC))

    def taken(self, submitting: Submitting, job: AnalysisJob) -> None:
        """The job is stored."""
        attributes = {"klipstream.job_id": job.job_id, "klipstream.job": job.metadata.name,
                      "k8s.namespace.name": job.metadata.namespace}  # fmt: skip
        self.tracing.send(
            Span("submission", submitting.context, submitting.parent_id, submitting.began, datetime.now(UTC), "SERVER",
                 attributes)
        )  # fmt: skip


__all__ = ["TRACEPARENT", "TRACE_HEADER", "Submitting", "Traces"]
