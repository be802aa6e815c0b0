"""The routes as data: from them come routing, validation, problems, rate limits, access and OpenAPI."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from klipstream_gateway.problems import Problem


class Scope(StrEnum):
    """What credentials allow; admin includes the others."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


class RateClass(StrEnum):
    """Requests that share a limit (guide, "Rate Limiting")."""

    STATUS = "status"
    SUBMIT = "submit"
    CHANGE = "change"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `tenant` limits what is seen and changed; None sees all."""

    name: str
    scopes: frozenset[Scope]
    tenant: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope, or admin, was given."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANONYMOUS = Principal("anonymous", frozenset())


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was authenticated, counted and validated."""

    principal: Principal
    request_id: str
    address: str
    path: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[str, str]

    @property
    def path_id(self) -> str:
        """The only variable of the path."""
        (value,) = self.path.values()
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: a model that is sent as JSON."""

    body: BaseModel
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[str, ...] = ()
    """Ids of the jobs that it was given to, for the audit log: the path does not name them."""


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """A success in another media type than JSON."""

    text: str
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NothingMore:
    """The success that ends a stream: after a 204 browsers do not open it again (HTML standard, 9.2.2)."""


@dataclass(frozen=True, slots=True)
class EventStream:
    """A success that goes on: server-sent events until the caller leaves. None is a sign of life.

    `leave` is called once the stream is over, even where it never began: what it listens with is given back.
    """

    events: AsyncGenerator["ServerEvent | None", None]
    leave: Callable[[], None]


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event. Without data it only says how far the stream is, and is a sign of life."""

    id: str
    event: str
    data: bytes | None
    """JSON, so that one encoding serves all listeners."""


Handler = Callable[[Call], Awaitable[Answer | TextAnswer | EventStream | NothingMore]]


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A variable of the path."""

    description: str
    pattern: str


@dataclass(frozen=True, slots=True)
class HeaderParameter:
    """A request header that a route reads."""

    description: str
    pattern: str
    longest: int


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. `answers` maps a status to the model of its body, or to a media type; None: no body."""

    method: str
    path: str
    operation: str
    tag: str
    summary: str
    handler: Handler
    answers: Mapping[int, type[BaseModel] | str | None]
    rate: RateClass | None
    scope: Scope | None = None
    """None: anybody may ask."""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    problems: tuple[Problem, ...] = ()
    """Those of its own; what follows from scope, rate, query and body is added."""
    headers: Mapping[str, HeaderParameter] = field(default_factory=dict)
    audited: bool = False
    """Whether it changes something, and so stands in the audit log."""
    many: bool = False
    """Whether its body holds many things at once, and so may be larger than others."""

    @property
    def description(self) -> str:
        """The handler's docstring."""
        return " ".join((self.handler.__doc__ or "").split())

    @property
    def all_problems(self) -> tuple[Problem, ...]:
        """Every problem that the operation may answer, each once."""
        found: list[Problem] = []
        if self.query is None or self.method != "GET":
            found += [Problem.BAD_REQUEST]  # a query or a body where none is taken, or no JSON
        if self.scope is not None:
            found += [Problem.UNAUTHENTICATED, Problem.FORBIDDEN]
        else:
            found += [Problem.UNAUTHENTICATED]
        if self.rate is not None:
            found += [Problem.RATE_LIMITED]
        if self.query is not None or self.body is not None or self.headers:
            found += [Problem.INVALID]
        if self.body is not None:
            found += [Problem.TOO_LARGE, Problem.UNSUPPORTED_MEDIA_TYPE]
        found += [Problem.UNAVAILABLE]
        return tuple(dict.fromkeys([*found, *self.problems]))


PATH_PARAMETERS: Mapping[str, PathParameter] = {
    "job_id": PathParameter("The id that the submission answered.", r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
    "fingerprint": PathParameter("What the dead letters of a group share.", r"^[A-Za-z0-9._-]{1,64}$"),
}


def path_names(path: str) -> tuple[str, ...]:
    """The variables of a path such as /jobs/{job_id}."""
    return tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))
