"""What a request can end in, other than its answer."""

from __future__ import annotations

from typing import Any


class ConfigurationError(Exception):
    """No usable description of how to reach a cluster was found."""


class Unreachable(Exception):
    """No answer, or one lost on the way: refused, reset, timed out, cut off.

    A write that ends like this may have been carried out or not; read live before deciding again.
    """


class ApiError(Exception):
    """The API server answered, and refused. `message` is its own text, `details` the Status' details."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{message} ({status} {reason})")
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(ApiError):
    """401: the credentials are missing, expired or unknown."""


class Forbidden(ApiError):
    """403: the role does not allow it, or an admission policy refuses it."""


class NotFound(ApiError):
    """404: no such object, or no such resource (a CustomResourceDefinition that is not installed)."""


class Conflict(ApiError):
    """409: the object is not the one, or not at the resourceVersion, that the decision was made on."""


class AlreadyExists(ApiError):
    """409 to a create: the name is taken."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token is older than what the server keeps. List again."""


class Invalid(ApiError):
    """422: the schema or a validation rule refuses the object; `details["causes"]` names the fields."""


class TooManyRequests(ApiError):
    """429: the server did nothing and asks to come back after `retry_after_seconds`."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(
    status: dict[str, Any], *, code: int | None = None, retry_after_seconds: float | None = None
) -> ApiError:
    """The error for a `Status` object, of a response (`code` is its HTTP status) or inside a watch."""
    code = code if code is not None else _integer(status.get("code")) or 500
    reason = str(status.get("reason") or "Unknown")
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    if retry_after_seconds is None and details.get("retryAfterSeconds"):
        retry_after_seconds = float(details["retryAfterSeconds"])
    kind = AlreadyExists if code == 409 and reason == "AlreadyExists" else _BY_STATUS.get(code, ApiError)
    message = str(status.get("message") or reason)
    return kind(code, reason, message, details, retry_after_seconds)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
