"""How a worker ends: exit codes, and the termination message that the operator reads."""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MESSAGE_BYTES = 4096
"""The kubelet cuts a termination message here."""


class Exit(IntEnum):
    """Exit codes. Only 0 is success; whether another attempt may help is said by `retryable`."""

    SUCCESS = 0
    TRANSIENT = 1
    BAD_VIDEO = 65
    SOURCE_GONE = 66
    STALE = 75
    CANCELLED = 130


class AnalysisError(Exception):
    """The analysis cannot go on."""

    exit_code = Exit.TRANSIENT
    error_code = "AnalysisFailed"
    retryable = True


class DownloadFailed(AnalysisError):
    """The source did not deliver the whole video; trying later may help."""

    error_code = "DownloadFailed"


class SourceGone(AnalysisError):
    """The source says that there is no such video."""

    exit_code, error_code, retryable = Exit.SOURCE_GONE, "SourceGone", False


class BadVideo(AnalysisError):
    """The file is not a video that can be analysed: corrupt, empty or without sound."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "BadVideo", False


class Cancelled(AnalysisError):
    """The queue asked the worker to stop, or the pod is being stopped."""

    exit_code, error_code = Exit.CANCELLED, "Cancelled"


class StaleAttempt(AnalysisError):
    """The queue no longer knows this attempt: another one took over."""

    exit_code, error_code = Exit.STALE, "StaleAttempt"


@dataclass(frozen=True)
class Report:
    """What the termination message says."""

    message: str
    result_url: str | None = None
    error_code: str | None = None
    retryable: bool | None = None

    def write(self, path: Path) -> None:
        """Write the message as JSON of at most 4 KiB; without the file (outside a pod) nothing is written."""
        if not path.parent.is_dir():
            return
        message = self.message
        while True:
            said = {"message": message, "result_url": self.result_url, "error_code": self.error_code,
                    "retryable": self.retryable}  # fmt: skip
            encoded = json.dumps({key: value for key, value in said.items() if value is not None}).encode()
            if len(encoded) <= MESSAGE_BYTES or not message:
                break
            message = message[: len(message) // 2]
        path.write_bytes(encoded)
