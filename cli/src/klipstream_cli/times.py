"""Moments and spans, as kubectl writes them (pure)."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 moment; None for none and for what is none."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def seconds_since(text: str | None, now: datetime) -> float | None:
    """Seconds from a moment until now; None without one."""
    at = moment(text)
    return None if at is None else (now - at).total_seconds()


def span(seconds: float | None) -> str:
    """A span in two units at most: 45s, 5m30s, 2h10m, 3d4h; empty for None."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds + 0.5))
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    return _two(days, "d", hours % 24, "h") if days < 8 else f"{days}d"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}" + (f"{small}{small_unit}" if small else "")


def age(text: str | None, now: datetime) -> str:
    """Time since a moment; <unknown> without one, as kubectl says."""
    seconds = seconds_since(text, now)
    return "<unknown>" if seconds is None else span(seconds)


def clock(at: datetime, now: datetime) -> str:
    """A moment in local time: 14:05, with the date where it is another day."""
    local, today = at.astimezone(), now.astimezone()
    return local.strftime("%H:%M") if local.date() == today.date() else local.strftime("%Y-%m-%d %H:%M")


def parse_span(text: str) -> float:
    """Seconds of 90, 45s, 30m, 2h, 7d or sums such as 1h30m. Raises ValueError."""
    import re

    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+[smhdw])+", text):
        raise ValueError(f"{text!r} is no span of time: write 90, 45s, 30m, 2h, 7d or 1h30m")
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    return float(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text)))
