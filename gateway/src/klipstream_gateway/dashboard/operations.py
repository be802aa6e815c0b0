"""The REST API's own operations, for pages: the same routes, scopes, limits, validation, handlers and audit log."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from klipstream_gateway import audit, validation
from klipstream_gateway.access import Access
from klipstream_gateway.addresses import counted_as
from klipstream_gateway.cluster import refusal
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import Answer, Call, Principal, Route, TextAnswer
from klipstream_kube import ApiError, Unreachable


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, from where, and by which request."""

    principal: Principal
    address: str
    request_id: str

    @property
    def counted_as(self) -> str:
        """Whose limit it counts against, as in the REST API."""
        return counted_as(self.principal, self.address)


@dataclass(slots=True)
class Operations:
    """Performs operations by their names in the OpenAPI description. Raises Refused, and nothing else."""

    routes: Sequence[Route]
    access: Access
    rates: RateLimiter
    seconds: float
    _by_name: dict[str, Route] = field(init=False)

    def __post_init__(self) -> None:
        self._by_name = {route.operation: route for route in self.routes}

    async def read(self, name: str, caller: Caller, query: Mapping[str, str] | None = None, **path: str) -> Any:
        """What a GET answers. It is not counted: the page that it is a part of was."""
        route = self._by_name[name]
        assert not route.audited, f"{name} changes something"
        return _content(await self._handled(route, self._validated(route, caller, path, query, None)))

    async def act(
        self,
        name: str,
        caller: Caller,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **path: str,
    ) -> Any:
        """What a change answers. It is counted and audited as if it had come through the REST API."""
        route = self._by_name[name]
        assert route.audited, f"{name} changes nothing"
        assert route.rate is not None, f"{name} has no limit"
        call = Call(caller.principal, caller.request_id, caller.address, path, None, None, {})
        status, code, jobs = 500, None, tuple[str, ...]()
        try:
            await self.rates.count(route.rate, caller.counted_as)
            call = replace(self._validated(route, caller, path, query, body), headers=headers or {})
            answer = await self._handled(route, call)
            status = next(iter(route.answers))
            jobs = answer.jobs if isinstance(answer, Answer) else ()
            return _content(answer)
        except Refused as refused:
            status, code = refused.problem.status, refused.problem.value.code
            raise
        finally:
            audit.note(route, call, status, code, jobs)

    def _validated(
        self,
        route: Route,
        caller: Caller,
        path: Mapping[str, str],
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Call:
        self.access.allow(caller.principal, route.scope)
        validation.check_path(path)
        asked = validation.query(route.query, query or {}) if route.query is not None else None
        sent = validation.form_body(route.body, body or {}) if route.body is not None else None
        return Call(caller.principal, caller.request_id, caller.address, path, asked, sent, {})

    async def _handled(self, route: Route, call: Call) -> Answer | TextAnswer:
        try:
            async with asyncio.timeout(self.seconds):
                answer = await route.handler(call)
        except TimeoutError:
            raise Refused(Problem.UNAVAILABLE, f"It took more than {self.seconds:g} s.") from None
        except (ApiError, Unreachable) as error:
            raise refusal(error) from error
        assert isinstance(answer, Answer | TextAnswer), "pages have streams of their own"
        return answer


def _content(answer: Answer | TextAnswer) -> Any:
    return answer.body if isinstance(answer, Answer) else answer.text
