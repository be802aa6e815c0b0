"""What the kubelet and Prometheus ask: probes and metrics on a port of their own, without TLS."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.aiohttp import make_aiohttp_handler

Problems = Callable[[], list[str]]
"""What is wrong, in words; nothing while all is well."""


def probe(word: str, problems: Problems) -> Handler:
    """Answers 200, or 503 with the problems. That it answers at all shows that the event loop runs."""

    async def answer(_: web.Request) -> web.Response:
        found = problems()
        return web.json_response({word: not found, "problems": found}, status=503 if found else 200)

    return answer


def metrics(registry: CollectorRegistry) -> Handler:
    """What Prometheus scrapes."""
    # The time at which each series began doubles the series of all counters and histograms and says little.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return make_aiohttp_handler(registry)


@asynccontextmanager
async def pages(host: str, port: int, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Serve GET on paths such as /healthz while the block lasts. Raises OSError where the port is taken."""
    app = web.Application()
    for path, handler in handlers.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
