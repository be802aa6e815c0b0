"""Progress told by a line of a worker's output, `::progress 45 Analyzing: frame 4500` (pure).

The worker SDK reads the same lines (klipstream_worker.progress_lines); tests/unit/worker/progress-lines.json holds both
to that. What workers write is free text, so whatever is taken from it is bounded and printable.
"""

import re
from dataclasses import dataclass, field

from klipstream_api import ProgressPost

LINE_BYTES = 1024
STAGE_CHARACTERS = 64
MESSAGE_CHARACTERS = 256
_LINE = re.compile(r"::progress[ \t]+([0-9]{1,3}(?:\.[0-9]{1,9})?)[ \t]*%?[ \t]+(\S.*)", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def read_progress_line(line: bytes) -> ProgressPost | None:
    """What a line tells; None where it is any other line, or says what cannot be."""
    if not line.startswith(b"::progress") or len(line) > LINE_BYTES:
        return None
    match = _LINE.fullmatch(_UNPRINTABLE.sub(" ", line.decode("utf-8", "replace")).rstrip())
    if match is None or float(match[1]) > 100:
        return None
    stage, _, message = match[2].partition(": ")
    stage = stage.rstrip(" :")
    if not stage or len(stage) > STAGE_CHARACTERS:
        return None
    return ProgressPost(percentage=float(match[1]), stage=stage, message=message.strip()[:MESSAGE_CHARACTERS])


@dataclass(slots=True)
class ProgressLines:
    """Finds the last progress in a stream of bytes, wherever its chunks end; keeps at most a line."""

    _rest: bytearray = field(default_factory=bytearray)

    def read(self, chunk: bytes) -> ProgressPost | None:
        """The last line of progress that is complete with this chunk."""
        *whole, rest = chunk.split(b"\n")
        last = None
        for line in whole:
            self._keep(line)
            last = read_progress_line(bytes(self._rest).removesuffix(b"\r")) or last
            self._rest.clear()
        self._keep(rest)
        return last

    def _keep(self, part: bytes) -> None:
        """What is longer than a line of progress is only known to be so."""
        self._rest += part[: LINE_BYTES + 2 - len(self._rest)]
