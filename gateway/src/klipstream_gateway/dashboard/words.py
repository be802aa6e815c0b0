"""Figures and moments as people read them (pure)."""

from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400
NOTHING = "–"


def duration(seconds: float | None) -> str:
    """`48 s`, `3 min`, `1 h 20 min`, `2 d 4 h`: two units at most, and a dash where nothing is known."""
    if seconds is None:
        return NOTHING
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        minutes, rest = divmod(whole, MINUTE)
        return f"{minutes} min {rest} s" if rest and minutes < 5 else f"{minutes} min"
    large, small, units = (DAY, HOUR, ("d", "h")) if whole >= DAY else (HOUR, MINUTE, ("h", "min"))
    first, second = whole // large, whole % large // small
    return f"{first} {units[0]} {second} {units[1]}" if second else f"{first} {units[0]}"


def ago(moment: datetime | None, now: datetime) -> str:
    """`12 s ago`; a clock that is a little ahead is no future."""
    return NOTHING if moment is None else f"{duration((now - moment).total_seconds())} ago"


def until(seconds: float | None) -> str:
    """`in 3 min`, `now`."""
    if seconds is None:
        return NOTHING
    return "now" if seconds < 1 else f"in {duration(seconds)}"


def stamp(moment: datetime | None) -> str:
    """`26 Nov 2026, 14:03:07 UTC`."""
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"


def clock(moment: datetime) -> str:
    """`14:03`, in UTC."""
    return f"{moment.astimezone(UTC):%H:%M}"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{count(number)}{ending}"


def count(number: float) -> str:
    """`12,345`."""
    return f"{number:,.0f}"


def percent(share: float | None) -> str:
    """`97.3 %`, `100 %`; a dash where there is nothing to take a share of."""
    if share is None:
        return NOTHING
    return f"{share:.1f}".removesuffix(".0") + " %"


def several(number: int, one: str, more: str | None = None) -> str:
    """`1 job`, `12 jobs`."""
    return f"{count(number)} {one if number == 1 else more or one + 's'}"


def success_percent(processed: int, failed: int) -> float | None:
    """The share of finished jobs that succeeded; None where none has finished. 100 only where none failed."""
    if processed <= 0:
        return None
    share = 100 * (processed - failed) / processed
    return 99.9 if failed and share > 99.9 else share


def short(job_id: str) -> str:
    """The beginning of a job's id, as a label where its video has none."""
    return job_id[:8]
