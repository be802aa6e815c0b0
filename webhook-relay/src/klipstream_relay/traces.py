"""Which trace the webhooks of a job belong to, and a span for each try to deliver one."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from klipstream_api import names
from klipstream_relay.deliveries import Delivery
from klipstream_relay.sender import Outcome
from klipstream_service.trace_context import JobTrace, Span, begun
from klipstream_service.tracing import Tracing

Send = Callable[[Delivery, str | None], Awaitable[Outcome]]


class Traces:
    """Traces of the jobs that are not announced to their end. A deleted job's last webhook has none."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._known: dict[str, JobTrace] = {}

    def seen(self, obj: dict[str, Any]) -> None:
        """An AnalysisJob, or what is new of it."""
        metadata, status = obj["metadata"], obj.get("status") or {}
        uid = metadata["uid"]
        if "finishedAt" in status and status["finishedAt"] <= status.get("announcedAt", ""):
            self._known.pop(uid, None)
            return
        annotation = (metadata.get("annotations") or {}).get(names.TRACEPARENT_ANNOTATION)
        self._known[uid] = JobTrace.of(uid, annotation, status.get("sequence"), self._tracing.ratio)

    def gone(self, obj: dict[str, Any]) -> None:
        """An AnalysisJob was deleted."""
        self._known.pop(obj["metadata"]["uid"], None)

    async def sending(self, delivery: Delivery, send: Send) -> Outcome:
        """Send with a traceparent; what came of it is a span."""
        trace = self._known.get(delivery.job_uid)
        if trace is None:
            return await send(delivery, None)
        context = begun(trace.whole, self._tracing.ratio)
        start = datetime.now(UTC)
        outcome = await send(delivery, context.traceparent)
        attributes: dict[str, str | int | float] = {
            "klipstream.event": delivery.event, "klipstream.webhook_id": delivery.id,
            "klipstream.endpoint": delivery.endpoint, "k8s.namespace.name": delivery.namespace,
        }  # fmt: skip
        if outcome.code is not None:
            attributes["http.response.status_code"] = outcome.code
        self._tracing.send(
            Span(
                "webhook", context, trace.whole.span_id, start, datetime.now(UTC), "CLIENT", attributes,
                None if outcome.delivered else outcome.message,
            )
        )  # fmt: skip
        return outcome
