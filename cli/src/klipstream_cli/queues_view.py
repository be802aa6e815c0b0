"""AnalysisQueues as rows (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from klipstream_cli.jobs_view import condition
from klipstream_cli.times import age, span

HEADER = ("NAME", "MODE", "READY", "ACTIVE", "LIMIT", "QUEUED", "BACKING-OFF", "DEAD", "AGE")
WIDE = ("SIZE", "SUCCEEDED", "FAILED", "RETRIED", "MEAN-WAIT", "MEAN-RUN")
COLOURS = {"MODE": {"Running": "green", "Paused": "yellow", "Draining": "magenta"}, "READY": {"False": "red"}}


def row(queue: dict[str, Any], now: datetime) -> tuple[str, ...]:
    """Cells under HEADER."""
    spec, status = queue["spec"], queue.get("status", {})
    return (
        queue["metadata"]["name"],
        str(spec.get("mode") or "Running"),
        str(condition(queue, "Ready").get("status") or "Unknown"),
        str(status.get("active") or 0),
        str(spec.get("maxConcurrentJobs", 3)),
        str(status.get("queued") or 0),
        str(status.get("backingOff") or 0),
        str(status.get("deadLettered") or 0),
        age(queue["metadata"].get("creationTimestamp"), now),
    )


def wide(queue: dict[str, Any]) -> tuple[str, ...]:
    """Cells under WIDE."""
    totals = queue.get("status", {}).get("totals") or {}
    return (
        str(queue["spec"].get("maxQueueSize", 100)),
        str(totals.get("succeeded") or 0),
        str(totals.get("failed") or 0),
        str(totals.get("retried") or 0),
        span(mean(totals, "waitSeconds", "started")),
        span(mean(totals, "runSeconds", "succeeded")),
    )


def mean(totals: Mapping[str, Any], sum_of: str, count: str) -> float | None:
    """A mean of the totals; None before anything was counted."""
    number = int(totals.get(count) or 0)
    return float(totals.get(sum_of) or 0) / number if number else None
