"""How an analysis ends when it does not end well: exceptions, each with its exit code and what the queue is told."""

from __future__ import annotations


class AnalysisError(Exception):
    """The analysis cannot go on; raise it (or a subclass) inside `with AnalysisTask...`.

    The queue shows `message` and `error_code` in the job's status. `retryable=False` says that another attempt would
    fail as well: the job fails for good at once. `exit_code` (1 to 255) becomes the process'.
    """

    error_code = "AnalysisFailed"
    retryable = True
    exit_code = 1
    keeps_message = False
    """Whether a termination message that something else has written meanwhile says more than this error."""

    def __init__(
        self,
        message: str,
        *,
        error_code: str | None = None,
        retryable: bool | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        if error_code is not None:
            self.error_code = error_code
        if retryable is not None:
            self.retryable = retryable
        if exit_code is not None:
            if not 1 <= exit_code <= 255:
                raise ValueError(f"exit code {exit_code}: 1 to 255, since 0 says that all went well")
            self.exit_code = exit_code


class Cancelled(AnalysisError):
    """The job was cancelled, or the process was told to end (SIGTERM, SIGINT)."""

    error_code = "Cancelled"
    exit_code = 130


class StaleAttempt(AnalysisError):
    """The queue does not know this attempt any more (409): another one took over, or the job is finished."""

    error_code = "StaleAttempt"
    exit_code = 75


class BadTask(AnalysisError):
    """The environment does not follow the worker contract; the message names the variable."""

    error_code = "BadTask"
    exit_code = 64
    retryable = False
