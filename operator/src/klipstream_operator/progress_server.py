"""The endpoint that workers post their progress to, and the operator's readiness: HTTP and nothing more."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from klipstream_operator.progress_forwarder import FORWARDED
from klipstream_operator.progress_receiver import ProgressReceiver

BODY_BYTES = 16_384


@dataclass(slots=True)
class ProgressServer:
    """HTTP side of the progress receiver."""

    receiver: ProgressReceiver
    problems: Callable[[], list[str]]
    """What keeps this replica from being ready."""

    def application(self) -> web.Application:
        """The aiohttp application: POST /v1/progress, GET /readyz."""
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/v1/progress", self.post)
        app.router.add_get("/readyz", self.ready)
        return app

    async def serve(self, host: str, port: int, tls: ssl.SSLContext | None) -> web.AppRunner:
        """Start to listen; the caller cleans the runner up."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        return runner

    async def ready(self, _: web.Request) -> web.Response:
        """200 once all caches are filled; 503 with what is missing before."""
        problems = self.problems()
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def post(self, request: web.Request) -> web.Response:
        """What the receiver answers; 413 for a body of more than BODY_BYTES."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        reply = await self.receiver.receive(token, await request.read(), FORWARDED in request.headers)
        return web.json_response(
            reply.body, status=reply.status, headers=reply.headers, content_type=reply.content_type
        )
