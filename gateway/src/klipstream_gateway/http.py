"""The routes over HTTP: what aiohttp receives becomes a Call, what a handler answers becomes a response."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from aiohttp import web
from pydantic import BaseModel

from klipstream_gateway import audit, responses, validation
from klipstream_gateway.access import Access, is_bearer
from klipstream_gateway.addresses import client_address, counted_as
from klipstream_gateway.cluster import refusal
from klipstream_gateway.metrics import CALLER_LEFT, Metrics
from klipstream_gateway.origins import Origins
from klipstream_gateway.problems import FieldError, Problem, Refused
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import ANONYMOUS, Answer, Call, EventStream, NothingMore, Principal, Route
from klipstream_gateway.sending import send_events
from klipstream_gateway.settings import Settings
from klipstream_kube import ApiError, Unreachable

log = logging.getLogger(__name__)
NOTHING = (b"", b"{}", b"null")
"""Bodies that say nothing, as some clients send them."""
LONGEST_NOTHING = 16


@dataclass(slots=True)
class Front:
    """Serves routes."""

    settings: Settings
    access: Access
    rates: RateLimiter
    metrics: Metrics

    def application(self, routes: Sequence[Route]) -> web.Application:
        """The aiohttp application of some routes."""
        app = web.Application(client_max_size=self.settings.body_bytes)
        Origins(self.settings.allowed_origins).let_in(app)
        app.middlewares.append(self._unrouted)
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
        call = Call(
            ANONYMOUS, headers["X-Request-Id"], self.address(request), dict(request.match_info), None, None, {}
        )  # fmt: skip
        code: str | None = None
        stream: EventStream | None = None
        jobs: tuple[str, ...] = ()
        try:
            try:
                async with asyncio.timeout(self.settings.request_seconds):
                    principal = await self._who(route, request, call.address)
                    call = replace(call, principal=principal)
                    if route.rate is not None:
                        headers |= (await self.rates.count(route.rate, counted_as(principal, call.address))).headers
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
                response: web.StreamResponse = responses.event_stream(headers)
            elif isinstance(answer, NothingMore):
                response = responses.nothing_more(headers)
            else:
                response = responses.answered(answer, headers)
                jobs = answer.jobs if isinstance(answer, Answer) else ()
        except Refused as refused:
            code = refused.problem.value.code
            response = responses.problem(refused, call.request_id, headers)
        except web.HTTPException:
            raise
        except asyncio.CancelledError:
            # The caller has left. What it asked for may have been done all the same.
            if route.audited:
                audit.note(route, call, CALLER_LEFT, "caller-left", jobs)
            self.metrics.answered(route.operation, CALLER_LEFT, time.monotonic() - started)
            raise
        except Exception:
            log.exception("Request %s: %s %s failed", call.request_id, route.method, route.path)
            code = "internal"
            response = responses.failure(code, call.request_id, headers)
        if route.audited:
            audit.note(route, call, response.status, code, jobs)
        self.metrics.answered(route.operation, response.status, time.monotonic() - started)
        if stream is not None:
            await send_events(request, response, stream, lambda: self._is_still(request, call.principal))
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

    def address(self, request: web.Request) -> str:
        """The caller's address."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_address(request.remote, forwarded, self.settings.trusted_proxies)

    async def identify(self, authorization: str, address: str) -> Principal | None:
        """Whom credentials belong to; None where they are not valid, which is counted. What is valid is never refused
        because of what others sent from the same address: only a token that would have to be reviewed by the API
        server, and never was before, waits for these to become fewer. Raises Refused, ApiError and Unreachable."""
        if (known := self.access.known(authorization)) is not None:
            return known
        if not is_bearer(authorization):
            return None
        if not self.access.familiar(authorization):
            await self.rates.believes(address)
        if (principal := await self.access.principal(authorization)) is None:
            await self.rates.wrong_credentials(address)
        return principal

    async def _who(self, route: Route, request: web.Request, address: str) -> Principal:
        sent = request.headers.get("Authorization")
        if sent is None or (route.scope is None and not is_bearer(sent)):
            return ANONYMOUS
        if (principal := await self.identify(sent, address)) is not None:
            return principal
        raise Refused(
            Problem.UNAUTHENTICATED,
            "The credentials are not valid: unknown, expired, or not `Bearer KEY`.",
            {"WWW-Authenticate": 'Bearer realm="klipstream", error="invalid_token"'},
        )

    async def _validated(self, route: Route, request: web.Request, call: Call) -> Call:
        validation.check_path(call.path)
        sent = {name: request.headers[name] for name in route.headers if name in request.headers}
        headers = {name: validation.header(name, route.headers[name], value) for name, value in sent.items()}
        query = _query(route, request)
        limit = self.settings.batch_bytes if route.many else self.settings.body_bytes
        return replace(call, query=query, body=await _body(route, request, limit), headers=headers)

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
            refused = Refused(
                Problem.NOT_FOUND, "There is nothing here: /docs and /api/v1/openapi.json describe the API."
            )
        except web.HTTPRequestEntityTooLarge:
            refused = _too_large(self.settings.body_bytes)
        request_id = uuid.uuid4().hex
        return responses.problem(refused, request_id, {"X-Request-Id": request_id})


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
    return validation.query(route.query, request.query)


async def _body(route: Route, request: web.Request, limit: int) -> BaseModel | None:
    """The body as its model. Raises Refused."""
    if route.body is None:
        if route.method != "GET":
            await _no_body(request)
        return None
    if request.content_type != "application/json":
        what = f"The body came as {request.content_type}: send the header Content-Type: application/json."
        raise Refused(Problem.UNSUPPORTED_MEDIA_TYPE, what)
    try:
        # The application's own limit is that of the other routes and of forms.
        content = await request.clone(client_max_size=limit).read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except (web.RequestPayloadError, ConnectionResetError):
        raise Refused(Problem.BAD_REQUEST, "The body did not arrive whole.") from None
    return validation.json_body(route.body, content)


async def _no_body(request: web.Request) -> None:
    """Raises Refused for a body that would be ignored: `{"queue": "mine"}` sent along with an operation on all queues
    is meant to be heeded."""
    try:
        await request.content.readexactly(LONGEST_NOTHING + 1)
        says_nothing = False
    except asyncio.IncompleteReadError as whole:
        says_nothing = whole.partial.strip() in NOTHING
    except (web.RequestPayloadError, ConnectionResetError):
        raise Refused(Problem.BAD_REQUEST, "The body did not arrive whole.") from None
    if not says_nothing:
        raise Refused(
            Problem.BAD_REQUEST,
            "This operation takes no body: what it is about stands in the path or in the query, such as ?queue=NAME.",
            {"Connection": "close"},
        )


def _too_large(limit: int) -> Refused:
    return Refused(Problem.TOO_LARGE, f"The body has more than {limit} bytes.", {"Connection": "close"})
