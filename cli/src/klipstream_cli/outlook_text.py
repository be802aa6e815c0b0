"""Outlooks in words (pure)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from klipstream_cli.times import clock, span
from klipstream_queueing.outlook import Basis, Outlook


def start_text(outlook: Outlook | None, now: datetime) -> str:
    """When it starts: "about 14:05 (in 12m; 9 in 10 by 14:30)"; empty where nothing can be said."""
    if outlook is None or outlook.start_p50_seconds is None or outlook.start_p90_seconds is None:
        return ""
    return _when(outlook.start_p50_seconds, outlook.start_p90_seconds, outlook.basis, now)


def finish_text(outlook: Outlook | None, now: datetime) -> str:
    """When it finishes, as `start_text`."""
    if outlook is None or outlook.finish_p50_seconds is None or outlook.finish_p90_seconds is None:
        return ""
    return _when(outlook.finish_p50_seconds, outlook.finish_p90_seconds, outlook.basis, now)


def _when(median: float, cautious: float, basis: Basis, now: datetime) -> str:
    if median < 1:  # a free slot, or one whose run takes longer than usual
        return "at any moment"
    middle, late = now + timedelta(seconds=median), now + timedelta(seconds=cautious)
    if basis is Basis.TIMEOUT:
        return f"by {clock(middle, now)} at the latest (in {span(median)})"
    text = f"about {clock(middle, now)} (in {span(median)}"
    return f"{text}; 9 in 10 by {clock(late, now)})" if cautious - median >= 60 else f"{text})"


def basis_text(outlook: Outlook) -> str:
    """What the estimate rests on."""
    match outlook.basis:
        case Basis.HISTORY:
            return f"from {outlook.runs} finished runs of its type"
        case Basis.FEW_RUNS:
            return f"from {outlook.runs} finished runs only, so roughly"
        case _:
            return "nothing has finished in the queue yet, so every job is taken to need its whole time limit"


def as_json(outlook: Outlook | None) -> dict[str, Any] | None:
    """The outlook for programs, in seconds from now."""
    if outlook is None:
        return None
    return {
        "position": outlook.position,
        "basis": outlook.basis.value,
        "runs": outlook.runs,
        "startP50Seconds": outlook.start_p50_seconds,
        "startP90Seconds": outlook.start_p90_seconds,
        "finishP50Seconds": outlook.finish_p50_seconds,
        "finishP90Seconds": outlook.finish_p90_seconds,
    }
