"""How an analysis fails: each class with its code, and whether another attempt may help."""

from enum import IntEnum

from klipstream_worker import AnalysisError

__all__ = ["AnalysisError", "Exit"]


class Exit(IntEnum):
    """Exit codes beside those of the SDK: 1 for what may pass, 75 stale, 130 cancelled."""

    BAD_VIDEO = 65
    SOURCE_GONE = 66


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


class ResultsNotWritten(AnalysisError):
    """The results store cannot be read or written."""

    error_code = "ResultsNotWritten"
