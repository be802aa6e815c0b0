"""Progress told by lines of output, for programs that speak no HTTP: `::progress 45 Analyzing: frame 4500`.

    ::progress PERCENT STAGE[: MESSAGE]

PERCENT is 0 to 100, with or without a fraction and a percent sign. The operator reads the same lines from the logs of
queues with `progressFrom: Logs` (operator: log_progress.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE_BYTES = 1024
STAGE_CHARACTERS = 64
MESSAGE_CHARACTERS = 256
_LINE = re.compile(r"::progress[ \t]+([0-9]{1,3}(?:\.[0-9]{1,9})?)[ \t]*%?[ \t]+(\S.*)", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True)
class ProgressLine:
    """What a line says."""

    percentage: float
    stage: str
    message: str = ""


def read_progress_line(line: bytes) -> ProgressLine | None:
    """The progress that a line of output tells; None where it is any other line, or says what cannot be."""
    if not line.startswith(b"::progress") or len(line) > LINE_BYTES:
        return None
    match = _LINE.fullmatch(_UNPRINTABLE.sub(" ", line.decode("utf-8", "replace")).rstrip())
    if match is None or float(match[1]) > 100:
        return None
    stage, _, message = match[2].partition(": ")
    stage = stage.rstrip(" :")
    if not stage or len(stage) > STAGE_CHARACTERS:
        return None
    return ProgressLine(float(match[1]), stage, message.strip()[:MESSAGE_CHARACTERS])
