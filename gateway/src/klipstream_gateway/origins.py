"""CORS: pages of the origins that the settings name may call the API; none is the default."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web

EXPOSED = "Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
"""What pages of other origins may read of an answer's head."""
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True, slots=True)
class Origins:
    """Those that are let in."""

    allowed: Collection[str]

    def let_in(self, app: web.Application) -> None:
        """Answer preflights, and say on each answer who may read it."""
        app.middlewares.append(self._preflight)
        # Just before a head is sent, since that of an event stream is sent by its handler.
        app.on_response_prepare.append(self._on_answer)

    @web.middleware
    async def _preflight(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if asks and request.headers.get("Origin") in self.allowed:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    async def _on_answer(self, request: web.Request, response: web.StreamResponse) -> None:
        if not self.allowed:
            return
        response.headers["Vary"] = ", ".join([*filter(None, [response.headers.get("Vary")]), "Origin"])
        origin = request.headers.get("Origin")
        if origin is not None and origin in self.allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
