"""The lines of a log that comes with timestamps, and where it is to be taken up again (pure)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
Moment = tuple[int, int]
"""Seconds since 1970, and nanoseconds."""


def moment(stamp: bytes) -> Moment | None:
    """An RFC 3339 timestamp to the nanosecond, as the container runtime writes it; None for anything else."""
    found = _STAMP.fullmatch(stamp)
    if found is None:
        return None
    day, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat((day + zone).decode())
    except ValueError:
        return None
    return int(at.timestamp()), int((fraction or b"0").ljust(9, b"0"))


class Lines:
    """Takes the timestamps off a log's lines, and knows which lines of a second reading were written before.

    Counting bytes would not do: a log that was rotated in between begins elsewhere.
    """

    def __init__(self) -> None:
        self.seen = False
        """Whether there was a line."""
        self._torn = b""
        self._last = b""
        """Timestamp of the last line."""
        self._alike = 0
        """How many lines had it."""
        self._from: Moment | None = None
        """Lines before this moment, and `_skip` lines of it, were written before."""
        self._skip = 0

    def take(self, chunk: bytes) -> bytes:
        """The whole lines of a chunk that are new, without their timestamps."""
        *whole, self._torn = (self._torn + chunk).split(b"\n")
        return b"".join(line + b"\n" for line in map(self._line, whole) if line is not None)

    def end(self) -> bytes:
        """What stands after the last line end once the log is complete."""
        torn, self._torn = self._torn, b""
        return (self._line(torn) or b"") if torn else b""

    def resume(self) -> str | None:
        """`sinceTime` of the next reading, None for all of it; the line that was cut off comes again as a whole.

        The API server passes whole seconds on, so earlier lines of that second come again as well.
        """
        self._torn = b""
        self._from, self._skip = moment(self._last), self._alike
        return None if self._from is None else f"{datetime.fromtimestamp(self._from[0], UTC):%Y-%m-%dT%H:%M:%SZ}"

    def _line(self, line: bytes) -> bytes | None:
        stamp, space, text = line.partition(b" ")
        if self._from is not None and (at := moment(stamp)) is not None:
            if at < self._from:
                return None
            if at == self._from and self._skip:
                self._skip -= 1
                return None
            if at > self._from:
                self._from = None
        self.seen = True
        if not space or _STAMP.fullmatch(stamp) is None:
            return line
        self._alike = self._alike + 1 if stamp == self._last else 1
        self._last = stamp
        return text
