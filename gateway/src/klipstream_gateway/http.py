"""The routes over HTTP: what aiohttp receives becomes a Call, what a handler answers becomes a response."""

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import orjson
from aiohttp import ClientConnectionResetError, web
from pydantic import BaseModel, ValidationError

from klipstream_gateway import audit
from klipstream_gateway.access import Access, is_bearer
from klipstream_gateway.cluster import refusal
from klipstream_gateway.metrics import Metrics
from klipstream_gateway.problems import MEDIA_TYPE, FieldError, Problem, Refused
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import (
    ANONYMOUS,
    PATH_PARAMETERS,
    Answer,
    Call,
    EventStream,
    NothingMore,
    Principal,
    Route,
    ServerEvent,
    TextAnswer,
)
from klipstream_gateway.sending import deliver
from klipstream_gateway.settings import Network, Settings
from klipstream_kube import ApiError, Unreachable

log = logging.getLogger(__name__)
SECURITY_HEADERS = {
    "Server": "klipstream",  # without versions
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
EXPOSED = "Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
"""What pages of other origins may read of an answer's head."""
CREDENTIALS_SECONDS = 15.0
"""A stream looks at its caller's credentials at each sign of life, and at least that often."""
_NAMES = re.compile(r"^[a-zA-Z_]+$")


@dataclass(slots=True)
class Front:
    """Serves routes."""

    settings: Settings
    access: Access
    rates: RateLimiter
    metrics: Metrics

    def application(self, routes: Sequence[Route]) -> web.Application:
        """The aiohttp application of some routes."""
        app = web.Application(client_max_size=self.settings.body_bytes, middlewares=[self._preflight, self._unrouted])
        app.on_response_prepare.append(self._allow_origin)
        for route in routes:
            app.router.add_route(route.method, route.path, self._serving(route))
        return app

    def _serving(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(route, request)

        return serve

    async def _serve(self, route: Route, request: web.Request) -> web.StreamResponse:
        """1. Who asks. 2. Is it too often. 3. Is it allowed. 4. Is it well-formed. 5. Do it. Every way ends in an
        answer, and every change in the audit log."""
        started = time.monotonic()
        headers = {"X-Request-Id": uuid.uuid4().hex}
        call = Call(ANONYMOUS, headers["X-Request-Id"], client_address(request, self.settings.trusted_proxies),
                    dict(request.match_info), None, None, {})  # fmt: skip
        code: str | None = None
        stream: EventStream | None = None
        try:
            try:
                async with asyncio.timeout(self.settings.request_seconds):
                    principal = await self._who(route, request, call.address)
                    call = Call(principal, call.request_id, call.address, call.path, None, None, {})
                    if route.rate is not None:
                        caller = call.address if principal is ANONYMOUS else principal.name
                        headers |= (await self.rates.count(route.rate, caller)).headers
                    self.access.allow(principal, route.scope)
                    call = await self._validated(route, request, call)
                    answer = await route.handler(call)
            except TimeoutError:
                raise Refused(
                    Problem.UNAVAILABLE,
                    f"The request took more than {self.settings.request_seconds:g} s.",
                    {"Retry-After": "1"},
                ) from None
            except (ApiError, Unreachable) as error:
                raise refusal(error) from error
            if isinstance(answer, EventStream):
                stream = answer
                response: web.StreamResponse = _event_response(headers)
            elif isinstance(answer, NothingMore):
                response = web.Response(status=204, headers=SECURITY_HEADERS | headers)
            else:
                response = _response(answer, headers)
        except Refused as refused:
            code = refused.problem.value.code
            response = _problem_response(refused, call.request_id, headers)
        except web.HTTPException:
            raise
        except Exception:
            # The caller is told the request's id only: what went wrong in here is for the log.
            log.exception("Request %s: %s %s failed", call.request_id, route.method, route.path)
            code = "internal"
            body = {"type": "about:blank", "title": "Internal error", "status": 500, "code": code,
                    "detail": "The gateway's log has more.", "request_id": call.request_id}  # fmt: skip
            response = web.json_response(body, status=500, headers=headers | SECURITY_HEADERS, content_type=MEDIA_TYPE)
        if route.audited:
            audit.note(route, call, response.status, code)
        self.metrics.answered(route.operation, response.status, time.monotonic() - started)
        if stream is not None:
            await _send_events(request, response, stream, lambda: self._is_still(request, call.principal))
        return response

    async def _is_still(self, request: web.Request, principal: Principal) -> bool:
        """Whether the credentials of a request are still those of a principal. Where the cluster cannot tell they are
        taken to be: nothing new is heard from it then, and they are asked about again."""
        if principal is ANONYMOUS:
            return True
        try:
            return await self.access.principal(request.headers["Authorization"]) == principal
        except (ApiError, Unreachable):
            return True

    async def _who(self, route: Route, request: web.Request, address: str) -> Principal:
        """What is valid is never refused because of what others sent from the same address: only a token that would
        have to be reviewed by the API server, and never was before, waits for these to become fewer."""
        sent = request.headers.get("Authorization")
        if sent is None or (route.scope is None and not is_bearer(sent)):
            return ANONYMOUS
        if (known := self.access.known(sent)) is not None:
            return known
        if is_bearer(sent):
            if not self.access.familiar(sent):
                await self.rates.believes(address)
            if (principal := await self.access.principal(sent)) is not None:
                return principal
            await self.rates.wrong_credentials(address)
        raise Refused(
            Problem.UNAUTHENTICATED,
            "The credentials are not valid: unknown, expired, or not `Bearer KEY`.",
            {"WWW-Authenticate": 'Bearer realm="klipstream", error="invalid_token"'},
        )

    async def _validated(self, route: Route, request: web.Request, call: Call) -> Call:
        for name, value in call.path.items():
            if not re.fullmatch(PATH_PARAMETERS[name].pattern[1:-1], value):
                problem = Problem.JOB_NOT_FOUND if name == "job_id" else Problem.NOT_FOUND
                raise Refused(problem, f"No {name.replace('_', ' ')} looks like that.")
        headers = {}
        for name, parameter in route.headers.items():
            sent = request.headers.get(name)
            if sent is None:
                continue
            if len(sent) > parameter.longest or not re.fullmatch(parameter.pattern[1:-1], sent):
                error = FieldError(
                    field=f"header.{name}",
                    message=f"must match {parameter.pattern}, and have at most {parameter.longest} characters",
                )
                raise Refused(Problem.INVALID, error.message, errors=(error,))
            headers[name] = sent
        query = _query(route, request)
        body = await _body(route, request)
        return Call(call.principal, call.request_id, call.address, call.path, query, body, headers)

    @web.middleware
    async def _unrouted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Problems, too, for what no route took."""
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            refused = Refused(Problem.METHOD_NOT_ALLOWED, f"This path knows {allowed}.", {"Allow": allowed})
        except web.HTTPNotFound:
            refused = Refused(Problem.NOT_FOUND, "There is nothing here: /api/v1/openapi.json describes the API.")
        except web.HTTPRequestEntityTooLarge:
            refused = _too_large(self.settings.body_bytes)
        request_id = uuid.uuid4().hex
        return _problem_response(refused, request_id, {"X-Request-Id": request_id})

    @web.middleware
    async def _preflight(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Preflights of CORS, for the origins that the settings name; none is the default."""
        origin = request.headers.get("Origin")
        allowed = origin is not None and origin in self.settings.allowed_origins
        if allowed and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers = {
                "Access-Control-Allow-Methods": "GET, POST, PUT",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
                "Access-Control-Max-Age": "600",
            }
            return web.Response(status=204, headers=headers)
        return await handler(request)

    async def _allow_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        """CORS on any answer, just before its head is sent: that of an event stream is sent by its handler."""
        if not self.settings.allowed_origins:
            return
        response.headers["Vary"] = ", ".join([*filter(None, [response.headers.get("Vary")]), "Origin"])
        origin = request.headers.get("Origin")
        if origin is not None and origin in self.settings.allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED


def client_address(request: web.Request, trusted: Sequence[Network]) -> str:
    """The caller's address: the last one in X-Forwarded-For that is none of our proxies, believed only where the
    connection comes from one."""
    address = request.remote or "unknown"
    hops = [part.strip() for line in request.headers.getall("X-Forwarded-For", []) for part in line.split(",")]
    while hops and _is_trusted(address, trusted):
        hop = hops.pop()
        try:
            address = str(ip_address(hop))
        except ValueError:
            break
    return address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


def _query(route: Route, request: web.Request) -> BaseModel | None:
    """The query as its model. Raises Refused."""
    if route.query is None:
        if request.query:
            error = FieldError(field=f"query.{next(iter(request.query))}", message="this operation takes no query")
            raise Refused(Problem.BAD_REQUEST, error.message, errors=(error,))
        return None
    twice = [name for name in set(request.query) if len(request.query.getall(name)) > 1]
    if twice:
        error = FieldError(field=f"query.{twice[0]}", message="it is given more than once")
        raise Refused(Problem.INVALID, error.message, errors=(error,))
    try:
        return route.query.model_validate_strings(dict(request.query))
    except ValidationError as error:
        raise _invalid(error, "query") from None


async def _body(route: Route, request: web.Request) -> BaseModel | None:
    """The body as its model. Raises Refused."""
    if route.body is None:
        return None
    if request.content_type != "application/json":
        raise Refused(Problem.UNSUPPORTED_MEDIA_TYPE, f"The body came as {request.content_type}.")
    try:
        content = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(request.client_max_size) from None
    except (web.RequestPayloadError, ConnectionResetError):
        raise Refused(Problem.BAD_REQUEST, "The body did not arrive whole.") from None
    try:
        return route.body.model_validate_json(content)
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors(include_url=False)):
            raise Refused(Problem.BAD_REQUEST, "The body is no valid JSON.") from None
        raise _invalid(error, "body") from None


def _too_large(limit: int) -> Refused:
    return Refused(Problem.TOO_LARGE, f"The body has more than {limit} bytes.", {"Connection": "close"})


def _invalid(error: ValidationError, where: str) -> Refused:
    """Every field that is wrong; never its value, which may be a secret."""
    errors = tuple(
        FieldError(
            field=".".join([where, *(_readable(part) for part in each["loc"])]),
            message=each["msg"].removeprefix("Value error, "),
        )
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    )[:50]
    return Refused(Problem.INVALID, f"{errors[0].field}: {errors[0].message}", errors=errors)


def _readable(part: int | str) -> str:
    return str(part) if isinstance(part, int) or _NAMES.fullmatch(part) else "(name)"


def _response(answer: Answer | TextAnswer, headers: Mapping[str, str]) -> web.Response:
    all_headers = SECURITY_HEADERS | dict(headers) | dict(answer.headers)
    if isinstance(answer, TextAnswer):
        return web.Response(text=answer.text, content_type=answer.media_type, charset="utf-8", headers=all_headers)
    body = orjson.dumps(answer.body.model_dump(mode="json"))
    return web.Response(body=body, status=answer.status, content_type="application/json", headers=all_headers)


def _problem_response(refused: Refused, request_id: str, headers: Mapping[str, str]) -> web.Response:
    body = orjson.dumps(refused.body(request_id).model_dump(mode="json", exclude_none=True))
    all_headers = SECURITY_HEADERS | dict(headers) | dict(refused.headers)
    return web.Response(body=body, status=refused.problem.status, content_type=MEDIA_TYPE, headers=all_headers)


def _event_response(headers: Mapping[str, str]) -> web.StreamResponse:
    # Proxies that buffer would hold events back.
    more = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    return web.StreamResponse(headers=SECURITY_HEADERS | dict(headers) | more)


async def _send_events(
    request: web.Request, response: web.StreamResponse, stream: EventStream, is_still: Callable[[], Awaitable[bool]]
) -> None:
    """Until the stream ends, the caller leaves or reads no more, or its credentials are not valid any more."""
    checked_at = time.monotonic()
    try:
        async with contextlib.aclosing(stream.events) as events:
            await response.prepare(request)
            await deliver(request, response.write(b"retry: 2000\n\n"))
            async for event in events:
                if event is None or event.data is None or time.monotonic() - checked_at > CREDENTIALS_SECONDS:
                    if not await is_still():
                        break
                    checked_at = time.monotonic()
                await deliver(request, response.write(b": alive\n\n" if event is None else _encoded(event)))
            await deliver(request, response.write_eof())
    except (ClientConnectionResetError, ConnectionResetError):
        return
    finally:
        stream.leave()


def _encoded(event: ServerEvent) -> bytes:
    if event.data is None:
        return b"id: %s\n\n" % event.id.encode()
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), event.event.encode(), event.data)
