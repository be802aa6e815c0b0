"""The trace of a job by W3C Trace Context (https://www.w3.org/TR/trace-context/), found anew wherever it is needed.

Nothing is kept: ids follow from what the job holds, so that each process, and each successor of one, names the same
spans. The annotation on an AnalysisJob is a traceparent; a job without it has a trace of its own.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

TRACEPARENT = "traceparent"
_FORMAT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpanContext:
    """A span, as others refer to it."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As a header, an annotation or an environment variable holds it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time. `kind` is OpenTelemetry's word; `error` says what went wrong, if anything did."""

    name: str
    context: SpanContext
    parent_id: int | None
    start: datetime
    end: datetime
    kind: str = "INTERNAL"
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    error: str | None = None


def parse(traceparent: str | None) -> SpanContext | None:
    """None for what is no traceparent: as the recommendation has it, a trace of one's own then begins."""
    found = _FORMAT.fullmatch((traceparent or "").strip())
    if found is None:
        return None
    version, trace_id, span_id = found[1], int(found[2], 16), int(found[3], 16)
    if version == "ff" or (version == "00" and found[5] is not None) or not trace_id or not span_id:
        return None
    return SpanContext(trace_id, span_id, bool(int(found[4], 16) & 1))


def begun(parent: SpanContext | None, ratio: float) -> SpanContext:
    """A new span in the parent's trace, or in a new one, of which `ratio` (0 to 1) are sampled."""
    trace_id = parent.trace_id if parent is not None else secrets.randbits(128) or 1
    sampled = parent.sampled if parent is not None else chosen(trace_id, ratio)
    return SpanContext(trace_id, secrets.randbits(64) or 1, sampled)


def chosen(trace_id: int, ratio: float) -> bool:
    """Whether a trace that nobody decided on is sampled: each process decides alike (OpenTelemetry's
    TraceIdRatioBased)."""
    return (trace_id & 0xFFFF_FFFF_FFFF_FFFF) < round(ratio * 2**64)


@dataclass(frozen=True, slots=True)
class JobTrace:
    """The spans of one life of a job: the whole of it, and its attempts within."""

    uid: str
    whole: SpanContext
    parent_id: int | None
    """The span that submitted the job."""

    @classmethod
    def of(cls, uid: str, annotation: str | None, sequence: int | None, ratio: float) -> "JobTrace":
        """`annotation` is the job's traceparent, `sequence` its place in the queue: a replay has another one."""
        given = parse(annotation)
        trace_id = given.trace_id if given is not None else _derived(16, uid)
        sampled = given.sampled if given is not None else chosen(trace_id, ratio)
        whole = SpanContext(trace_id, _derived(8, uid, f"life {sequence or 0}"), sampled)
        return cls(uid, whole, given.span_id if given is not None else None)

    def attempt(self, number: int) -> SpanContext:
        """The span of an attempt; its worker is told of it."""
        return SpanContext(self.whole.trace_id, _derived(8, self.uid, f"attempt {number}"), self.whole.sampled)

    def part(self, name: str) -> SpanContext:
        """Another span within it, which `name` tells from all others of the job."""
        return SpanContext(self.whole.trace_id, _derived(8, self.uid, name), self.whole.sampled)


def _derived(size_bytes: int, *words: str) -> int:
    digest = hashlib.sha256("\n".join(("klipstream", *words)).encode()).digest()
    return int.from_bytes(digest[:size_bytes], "big") or 1
