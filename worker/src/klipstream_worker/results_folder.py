"""Files in the results store, where that is a folder: results of the attempt, checkpoints of the job.

The layout is the one of the reference pipeline: jobs/<job id>/attempts/<attempt>/<name> and
jobs/<job id>/checkpoints/<name>.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

from klipstream_worker.errors import AnalysisError

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


class ResultsNotWritten(AnalysisError):
    """The results store did not take a file."""

    error_code = "ResultsNotWritten"


def write_file(path: Path, content: bytes) -> None:
    """Write a file, all of it or nothing: a reader sees the old content or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def safe_name(name: str) -> str:
    """A file's name that leads nowhere else. Raises ValueError."""
    if not _SAFE.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a file's name here: use letters, digits, '.', '_' and '-'")
    return name
