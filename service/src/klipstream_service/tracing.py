"""Exporting spans by OTLP over HTTP, where somebody collects them. Off by default; OpenTelemetry is then not loaded.

Spans are handed over once they are over, and sent by a thread of OpenTelemetry's. Nothing waits for them: what the
collector does not take is dropped after some tries, and at most a few thousand spans are held meanwhile.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from klipstream_service.environment import Environment
from klipstream_service.trace_context import Span, SpanContext

log = logging.getLogger(__name__)
EXPORT_SECONDS = 5.0
LAST_SECONDS = 2.0
"""How long the spans that are left are tried to be sent at the end."""


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, such as http://collector:4318/v1/traces, and how many traces of our own are sampled (0 to 1)."""

    endpoint: str
    ratio: float

    @classmethod
    def from_environment(cls, env: Environment) -> "TracingSettings | None":
        """KLIPSTREAM_TRACING_ENDPOINT and KLIPSTREAM_TRACING_RATIO; None where there is no endpoint. Raises BadSetting.

        Headers, such as a token, are OpenTelemetry's own variable OTEL_EXPORTER_OTLP_HEADERS.
        """
        endpoint = env.text("TRACING_ENDPOINT")
        ratio = env.number("TRACING_RATIO", 1, 0, 1)
        if not endpoint:
            return None
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise env.bad("TRACING_ENDPOINT", "use the http or https URL of an OTLP collector")
        return cls(endpoint if parts.path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces", ratio)


class Tracing:
    """Sends spans. Close it, or what is held is lost."""

    def __init__(self, settings: TracingSettings, service: str, instance: str) -> None:
        # Here and not above: whoever does not trace pays nothing for it.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        self.ratio = settings.ratio
        self._next: SpanContext | None = None
        resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=_chosen_ids(self), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("klipstream")
        log.info("Traces go to %s", settings.endpoint)

    @classmethod
    def where_asked(cls, settings: TracingSettings | None, service: str, instance: str) -> "Tracing | None":
        """None where nobody collects spans."""
        return cls(settings, service, instance) if settings is not None else None

    @property
    def next(self) -> SpanContext:
        """The ids of the span that is made now."""
        assert self._next is not None
        return self._next

    def send(self, span: Span) -> None:
        """Hand a span over; one that is not sampled is dropped. Never blocks, never fails."""
        from opentelemetry import trace

        if not span.context.sampled:
            return
        around = None
        if span.parent_id is not None:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            parent = trace.SpanContext(span.context.trace_id, span.parent_id, is_remote=True, trace_flags=flags)
            around = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        self._next = span.context
        made = self._tracer.start_span(
            span.name, context=around, kind=trace.SpanKind[span.kind], attributes=dict(span.attributes),
            start_time=_nanoseconds(span.start),
        )  # fmt: skip
        if span.error is not None:
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        made.end(end_time=_nanoseconds(span.end))

    def close(self) -> None:
        """Send what is left, for a moment."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(LAST_SECONDS)


def _nanoseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def _chosen_ids(tracing: Tracing) -> Any:
    """OpenTelemetry asks for ids; ours are known before."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class ChosenIds(IdGenerator):
        def generate_span_id(self) -> int:
            return tracing.next.span_id

        def generate_trace_id(self) -> int:
            return tracing.next.trace_id

    return ChosenIds()
