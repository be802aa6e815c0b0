"""The termination message: what the operator reads of an attempt's end (JSON of at most 4 KiB)."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("klipstream_worker")
MESSAGE_BYTES = 4096
"""The kubelet cuts a termination message here."""
URL_CHARACTERS = 2048
CODE_CHARACTERS = 64


@dataclass(frozen=True)
class Ending:
    """What is said of an attempt's end."""

    message: str
    result_url: str | None = None
    error_code: str | None = None
    retryable: bool | None = None

    def encoded(self) -> bytes:
        """JSON of at most MESSAGE_BYTES bytes in UTF-8; the message is cut between two characters where it must be."""
        message = self.message.encode("utf-8", "replace").decode()
        whole = self._encoded(message)
        if len(whole) <= MESSAGE_BYTES:
            return whole
        # The longest beginning that fits; escapes make the length uneven, but it never falls with more characters.
        fits, too_long = 0, len(message)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if len(self._encoded(message[:middle] + "…")) <= MESSAGE_BYTES:
                fits = middle
            else:
                too_long = middle
        return self._encoded(message[:fits] + "…")

    def _encoded(self, message: str) -> bytes:
        code = re.sub(r"[^A-Za-z0-9_.-]", "", self.error_code)[:CODE_CHARACTERS] if self.error_code else None
        said = {
            "message": message,
            "result_url": self.result_url,
            "error_code": code,
            "retryable": self.retryable,
        }
        known = {key: value for key, value in said.items() if value is not None}
        return json.dumps(known, ensure_ascii=False).encode("utf-8", "replace")

    def write(self, path: Path | None) -> None:
        """Write it to the file that the kubelet reads; outside a pod (None) nothing is written."""
        if path is None:
            return
        try:
            path.write_bytes(self.encoded())
        except OSError as error:
            log.warning("the termination message could not be written to %s: %s", path, error)


class FileWatch:
    """Whether a file was written by somebody since this was made."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._before = self._look()

    def changed(self) -> bool:
        """True where it has got other content, and is not empty."""
        now = self._look()
        return now != self._before and now[1] > 0

    def _look(self) -> tuple[int, int]:
        try:
            seen = self._path.stat() if self._path is not None else None
        except OSError:
            seen = None
        return (seen.st_mtime_ns, seen.st_size) if seen is not None else (0, 0)
