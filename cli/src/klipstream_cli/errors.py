"""What a command can end in, and the exit code of each (docs/cli.md lists them)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes. 130, as everywhere, for Ctrl-C."""

    OK = 0
    FAILED = 1
    """The command worked and the answer is bad: a job failed, a manifest is invalid, a check of doctor failed."""
    USAGE = 2
    NOT_FOUND = 3
    FORBIDDEN = 4
    UNREACHABLE = 5
    REFUSED = 6
    """The server or the operator refused it: invalid, full, draining, not confirmed, nothing to do."""
    TIMED_OUT = 7
    INTERRUPTED = 130


class Problem(Exception):
    """Ends the command: the message says what happened, `hint` what to do."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


class Unreachable(Problem):
    """No answer, or one lost on the way. A write that ends like this may have been carried out or not."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, Exit.UNREACHABLE, hint)


class ApiProblem(Problem):
    """The API server answered, and refused."""

    def __init__(self, status: int, reason: str, message: str, code: Exit = Exit.REFUSED, hint: str = "") -> None:
        super().__init__(message, code, hint)
        self.status = status
        self.reason = reason


class Forbidden(ApiProblem):
    """A right is missing; the message names it."""


class NotFound(ApiProblem):
    """No such object, or no such resource."""


class Conflict(ApiProblem):
    """The object is not as it was when the change was decided."""


class Gone(ApiProblem):
    """The resourceVersion or continue token is older than what the server keeps."""
