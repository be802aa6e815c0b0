"""What the kubelet and Prometheus ask: GET /healthz, /readyz and /metrics, on one port, without TLS."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.aiohttp import make_aiohttp_handler


@asynccontextmanager
async def serve(
    registry: CollectorRegistry, problems: Callable[[], list[str]], host: str, port: int
) -> AsyncIterator[None]:
    """Listen. That /healthz is answered shows that the event loop runs; /readyz says what keeps the relay from
    announcing, with 503."""
    # They double the series of all counters and histograms and say little.
    disable_created_metrics()  # type: ignore[no-untyped-call]

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def readyz(_: web.Request) -> web.Response:
        found = problems()
        return web.json_response({"ready": not found, "problems": found}, status=503 if found else 200)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
