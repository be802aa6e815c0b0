"""What a call can end in, other than its answer. `code` stays the same; `detail` is for people."""

import json
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of the request."""

    field: str
    message: str


@dataclass
class ApiError(Exception):
    """The gateway refused. `code` is that of the problem (RFC 9457), such as queue-full."""

    status: int
    code: str
    detail: str
    request_id: str | None = None
    retry_after_seconds: float | None = None
    errors: tuple[FieldError, ...] = field(default=())

    def __str__(self) -> str:
        where = f" (request {self.request_id})" if self.request_id is not None else ""
        return f"{self.code}: {self.detail}{where}"


class InvalidRequest(ApiError):
    """400, 413, 415, 422: the request has to be mended; `errors` names the fields."""


class NotAllowed(ApiError):
    """401, 403: the key is missing, expired, or lacks the scope."""


class NotFound(ApiError):
    """404: no such job or queue, or one of another tenant."""


class Conflict(ApiError):
    """409: the state of the job or of the queue forbids it, as `code` says."""


class RateLimited(ApiError):
    """429: too many requests, and waiting for `retry_after_seconds` was not enough or not wanted."""


class Unavailable(ApiError):
    """5xx, or no answer (status 0): what became of a change is not known. Repeat it."""


class WaitTimedOut(Exception):
    """The job was not finished in the time given."""


def error_of(status: int, content: bytes, retry_after: str | None) -> ApiError:
    """The error for an answer that is no success; something on the way may answer with other things than JSON."""
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": content[:200].decode("utf-8", "replace")}
    listed = problem.get("errors")
    return _KINDS.get(status, Unavailable if status >= 500 else InvalidRequest)(
        status,
        str(problem.get("code", f"http-{status}")),
        str(problem.get("detail", "")),
        problem.get("request_id"),
        float(retry_after) if retry_after is not None and retry_after.isdigit() else None,
        tuple(
            FieldError(str(each.get("field", "")), str(each.get("message", "")))
            for each in (listed if isinstance(listed, list) else ())
            if isinstance(each, dict)
        ),
    )


_KINDS: dict[int, type[ApiError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}
