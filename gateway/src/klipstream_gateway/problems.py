"""Everything that can go wrong for a caller: RFC 9457 problems with codes that stay.

A caller's program looks at `code`; `detail` is for people and may change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"
PROBLEMS_PATH = "/api/v1/problems"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem: its code, HTTP status, and what a caller does about it."""

    code: str
    status: int
    title: str
    advice: str


class Problem(Enum):
    """Every problem that any route answers."""

    BAD_REQUEST = ProblemKind(
        "bad-request", 400, "The request cannot be read", "Mend what `detail` names; sending it again changes nothing."
    )
    INVALID = ProblemKind(
        "invalid", 422, "A value is not allowed", "`errors` lists every field that is wrong, and why. Mend them."
    )
    UNAUTHENTICATED = ProblemKind(
        "unauthenticated", 401, "Credentials are missing or not valid",
        "Send `Authorization: Bearer KEY` with an API key, or a Kubernetes token, that is valid and not expired.",
    )  # fmt: skip
    FORBIDDEN = ProblemKind(
        "forbidden", 403, "These credentials do not allow it", "Use a key with the scope that `detail` names."
    )
    NOT_FOUND = ProblemKind("not-found", 404, "There is no such thing", "Check the path, and the id in it.")
    JOB_NOT_FOUND = ProblemKind(
        "job-not-found", 404, "There is no such job",
        "Check the job id. Finished jobs are removed after a while; jobs of other tenants are not shown.",
    )  # fmt: skip
    QUEUE_NOT_FOUND = ProblemKind(
        "queue-not-found", 404, "There is no such queue", "GET /api/v1/queues lists the queues."
    )
    GROUP_NOT_FOUND = ProblemKind(
        "group-not-found", 404, "There is no such group of dead letters",
        "GET /api/v1/dead-letters/groups lists the groups by fingerprint.",
    )  # fmt: skip
    LOG_NOT_FOUND = ProblemKind(
        "log-not-found", 404, "There is no log of this attempt",
        "The attempt has not begun, or its log is gone with its pod; see `detail`.",
    )  # fmt: skip
    METHOD_NOT_ALLOWED = ProblemKind(
        "method-not-allowed", 405, "This path does not know the method", "The header `Allow` lists the methods."
    )
    QUEUE_FULL = ProblemKind(
        "queue-full", 409, "The queue is full", "Submit again after `Retry-After`, or have its size raised."
    )
    QUEUE_DRAINING = ProblemKind(
        "queue-draining", 409, "The queue takes no new jobs", "Submit again once the queue's mode is running."
    )
    JOB_FINISHED = ProblemKind(
        "job-finished", 409, "The job is finished", "A finished job cannot be changed; a failed one can be retried."
    )
    JOB_NOT_FAILED = ProblemKind(
        "job-not-failed", 409, "Only a failed job can be retried", "Wait for its end, or submit the video again."
    )
    JOB_STARTED = ProblemKind(
        "job-started", 409, "The job does not wait any more", "Priorities order waiting jobs; this one has a slot."
    )
    CONFLICT = ProblemKind(
        "conflict", 409, "Somebody else changed it at the same time", "Read the state again and decide again."
    )
    KEY_REUSED = ProblemKind(
        "idempotency-key-reused", 409, "The Idempotency-Key was used for another submission",
        "Use a new key for a new submission, and the old key only to repeat the same body.",
    )  # fmt: skip
    SEALING_UNAVAILABLE = ProblemKind(
        "sealing-unavailable", 422, "Sensitive fields cannot be taken",
        "This gateway has no public key to seal metadata, callback secrets and signed URLs with. Leave them out, or"
        " have it set up.",
    )  # fmt: skip
    TOO_LARGE = ProblemKind("too-large", 413, "The body is too large", "Send a smaller body: see `detail`.")
    UNSUPPORTED_MEDIA_TYPE = ProblemKind(
        "unsupported-media-type", 415, "The body must be JSON", "Send `Content-Type: application/json`."
    )
    RATE_LIMITED = ProblemKind(
        "rate-limited", 429, "Too many requests", "Wait for the seconds that `Retry-After` says."
    )
    UNAVAILABLE = ProblemKind(
        "unavailable", 503, "The cluster does not answer",
        "Nothing is known of what became of a change: repeat it with the same Idempotency-Key, or read the state.",
    )  # fmt: skip
    NOT_READY = ProblemKind("not-ready", 503, "The gateway is not ready", "Wait; `detail` says what is missing.")

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.value.status


class FieldError(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    field: str
    """Where it is, such as body.priority or query.limit."""
    message: str
    """What is wrong with it."""


class ProblemBody(BaseModel):
    """A problem as RFC 9457 describes it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, title="Problem")

    type: Annotated[str, Field(examples=["/api/v1/problems#queue-full"])]
    """URI of the kind of problem, relative to this API; it leads to a description."""
    title: str
    """The kind in words; the same for every problem of the kind."""
    status: Annotated[int, Field(ge=400, le=599)]
    """The HTTP status."""
    detail: str
    """What happened this time."""
    code: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)*$", examples=["queue-full"])]
    """The kind, for programs; it does not change."""
    request_id: str
    """Names the request in the gateway's log: give it when you ask for help."""
    errors: tuple[FieldError, ...] | None = None
    """Every field that is wrong, where the kind is `invalid`."""


@dataclass(slots=True)
class Refused(Exception):
    """Ends a request with a problem."""

    problem: Problem
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[FieldError, ...] | None = None

    def body(self, request_id: str) -> ProblemBody:
        """What the caller is sent."""
        kind = self.problem.value
        return ProblemBody(
            type=f"{PROBLEMS_PATH}#{kind.code}",
            title=kind.title,
            status=kind.status,
            detail=self.detail,
            code=kind.code,
            request_id=request_id,
            errors=self.errors,
        )


class ProblemDescription(BaseModel):
    """One kind of problem."""

    model_config = ConfigDict(frozen=True)

    code: str
    status: int
    title: str
    advice: str


def descriptions() -> tuple[ProblemDescription, ...]:
    """Every kind, for those who follow a problem's `type`."""
    return tuple(
        ProblemDescription(code=p.value.code, status=p.status, title=p.value.title, advice=p.value.advice)
        for p in Problem
    )
