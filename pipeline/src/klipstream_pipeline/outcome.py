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


class DownloadStalled(AnalysisError):
    """The source stopped sending; trying later may help."""

    error_code = "DownloadStalled"


class SourceGone(AnalysisError):
    """The source says that there is no such video (404, 410)."""

    exit_code, error_code, retryable = Exit.SOURCE_GONE, "SourceGone", False


class SourceForbidden(AnalysisError):
    """The source does not give the video to us: 401, 403, a region, DRM."""

    exit_code, error_code, retryable = Exit.SOURCE_GONE, "SourceForbidden", False


class SourceUnavailable(AnalysisError):
    """The site says in its own words why there is nothing to get: private, removed, for members only."""

    exit_code, error_code, retryable = Exit.SOURCE_GONE, "SourceUnavailable", False


class SourceRefused(AnalysisError):
    """The URL leads to an address or a scheme that the queue does not allow."""

    exit_code, error_code, retryable = Exit.SOURCE_GONE, "SourceRefused", False


class LiveStream(AnalysisError):
    """A stream that has not ended, or not begun."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "LiveStream", False


class TooLarge(AnalysisError):
    """More bytes than the worker takes."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "TooLarge", False


class NotAVideo(AnalysisError):
    """A page, or something else, but no video."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "NotAVideo", False


class BadVideo(AnalysisError):
    """The file is a video that cannot be analysed: corrupt or empty."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "BadVideo", False


class NoSound(AnalysisError):
    """A video without sound, so that there is nothing to hear in it."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "NoSound", False


class BadParameter(AnalysisError):
    """A parameter of the job that the pipeline does not understand."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "BadParameter", False


class EngineMissing(AnalysisError):
    """The transcription that was asked for cannot run in this image."""

    exit_code, error_code, retryable = Exit.BAD_VIDEO, "EngineMissing", False


FAILURES: dict[str, type[AnalysisError]] = {
    each.error_code: each
    for each in (
        DownloadFailed, DownloadStalled, SourceGone, SourceForbidden, SourceUnavailable, SourceRefused, LiveStream,
        TooLarge, NotAVideo, BadVideo,
    )
}  # fmt: skip
"""What the fetching process may say, by its code."""


def failure(code: str, message: str) -> AnalysisError:
    """The failure of a code; what is not known is worth another try."""
    return FAILURES.get(code, DownloadFailed)(message)


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
