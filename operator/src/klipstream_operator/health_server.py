"""Liveness over HTTP: GET /healthz, on a port of its own, without TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from klipstream_operator.health import Health


@asynccontextmanager
async def serve_health(health: Health, host: str, port: int) -> AsyncIterator[None]:
    """Answer 200 while all is well and 503 with the reasons when this process should be killed."""

    async def healthz(_: web.Request) -> web.Response:
        problems = health.problems()
        return web.json_response({"live": not problems, "problems": problems}, status=503 if problems else 200)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
