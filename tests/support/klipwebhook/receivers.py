"""Many receivers in one process: `python -m klipwebhook.receivers FILE PORT=BEHAVIOUR...`.

Every request is a line of FILE: port, webhook-id, body, when it came and what was answered. A behaviour is one of
ok, hang, slow:SECONDS, flapping:SECONDS (as long up as down), status:CODE, fail:N (N times 500, then ok),
later:SECONDS (one 429 with Retry-After, then ok). POST /behave to a port changes its behaviour.
"""

import argparse
import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import IO

from aiohttp import web


class Receiver:
    """One port."""

    def __init__(self, port: int, behaviour: str, record: IO[str]) -> None:
        self.port, self._record = port, record
        self._behave(behaviour)

    def _behave(self, behaviour: str) -> None:
        self._kind, _, argument = behaviour.partition(":")
        self._number = float(argument or 0)
        self._asked = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/behave", self._change)
        app.router.add_post("/{path:.*}", self._receive)
        return app

    async def _change(self, request: web.Request) -> web.Response:
        self._behave(await request.text())
        return web.Response()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        came = time.time()
        code, headers = await self._answer()
        line = {
            "port": self.port, "path": request.path, "id": request.headers.get("webhook-id"), "came": came,
            "code": code, "body": json.loads(body), "headers": dict(request.headers), "raw": body.decode(),
        }  # fmt: skip
        # A line is in the file before its answer is sent: what the relay takes for delivered is recorded.
        self._record.write(json.dumps(line) + "\n")
        self._record.flush()
        return web.Response(status=code, headers=headers)

    async def _answer(self) -> tuple[int, dict[str, str]]:
        self._asked += 1
        match self._kind:
            case "hang":
                await asyncio.sleep(3600)
            case "slow":
                await asyncio.sleep(self._number)
            case "flapping" if int(time.time() / self._number) % 2:
                return 503, {}
            case "status":
                return int(self._number), {}
            case "fail" if self._asked <= self._number:
                return 500, {}
            case "later" if self._asked == 1:
                return 429, {"Retry-After": str(int(self._number))}
        return 200, {}


async def main() -> None:
    """Receive until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("receivers", nargs="+", metavar="PORT=BEHAVIOUR")
    parser.add_argument("--certificate", type=Path, help="PEM with key and certificate, for https")
    options = parser.parse_args()
    tls = None
    if options.certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate)
    with options.file.open("a") as record:
        for each in options.receivers:
            port, _, behaviour = each.partition("=")
            runner = web.AppRunner(Receiver(int(port), behaviour, record).app(), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", int(port), ssl_context=tls).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
