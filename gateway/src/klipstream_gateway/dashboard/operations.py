"""The REST API's own operations, for pages: the same routes, scopes, limits, validation, handlers and audit log."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from klipstream_gateway import audit
from klipstream_gateway.access import Access
from klipstream_gateway.cluster import refusal
from klipstream_gateway.problems import FieldError, Problem, Refused
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import ANONYMOUS, PATH_PARAMETERS, Answer, Call, Principal, Route, TextAnswer
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
        return self.address if self.principal is ANONYMOUS else self.principal.name


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
        return await self._handled(route, self._validated(route, caller, path, query, None))

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
        status, code = 500, None
        try:
            await self.rates.count(route.rate, caller.counted_as)
            call = replace(self._validated(route, caller, path, query, body), headers=headers or {})
            answer = await self._handled(route, call)
            status = next(iter(route.answers))
            return answer
        except Refused as refused:
            status, code = refused.problem.status, refused.problem.value.code
            raise
        finally:
            audit.note(route, call, status, code)

    def _validated(
        self,
        route: Route,
        caller: Caller,
        path: Mapping[str, str],
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Call:
        self.access.allow(caller.principal, route.scope)
        for name, value in path.items():
            if not re.fullmatch(PATH_PARAMETERS[name].pattern[1:-1], value):
                problem = Problem.JOB_NOT_FOUND if name == "job_id" else Problem.NOT_FOUND
                raise Refused(problem, f"No {name.replace('_', ' ')} looks like that.")
        asked = _valid(route.query, query or {}, "query", strings=True) if route.query is not None else None
        sent = _valid(route.body, body or {}, "body", strings=False) if route.body is not None else None
        return Call(caller.principal, caller.request_id, caller.address, path, asked, sent, {})

    async def _handled(self, route: Route, call: Call) -> Any:
        try:
            async with asyncio.timeout(self.seconds):
                answer = await route.handler(call)
        except TimeoutError:
            raise Refused(Problem.UNAVAILABLE, f"It took more than {self.seconds:g} s.") from None
        except (ApiError, Unreachable) as error:
            raise refusal(error) from error
        if isinstance(answer, Answer):
            return answer.body
        assert isinstance(answer, TextAnswer)
        return answer.text


def _valid(model: type[BaseModel], values: Mapping[str, Any], where: str, strings: bool) -> BaseModel:
    """The values as their model. Raises Refused."""
    try:
        if strings:
            return model.model_validate_strings(dict(values))
        return model.model_validate(dict(values), strict=False)
    except ValidationError as error:
        errors = tuple(
            FieldError(
                field=".".join([where, *(str(part) for part in each["loc"])]),
                message=each["msg"].removeprefix("Value error, "),
            )
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        )[:50]
        raise Refused(Problem.INVALID, f"{errors[0].field}: {errors[0].message}", errors=errors) from None
