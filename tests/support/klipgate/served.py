"""The gateway's web server in this process, with a cache that a test fills; the API server is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from klipstream_gateway.access import Access
from klipstream_gateway.dashboard.server import add_dashboard
from klipstream_gateway.http import Front
from klipstream_gateway.keys import KeyFolder, new_key
from klipstream_gateway.metrics import Metrics
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import Scope
from klipstream_gateway.service import Service, make_service
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection


@dataclass
class Served:
    """What answers, and a caller."""

    service: Service
    session: aiohttp.ClientSession
    metrics: Metrics
    keys_folder: Path
    problems: list[str]
    """What keeps it from being ready."""

    def key(self, *scopes: Scope, tenant: str | None = None) -> str:
        """A new API key."""
        key, stored = new_key("somebody", scopes, tenant, None, datetime.now(UTC))
        (self.keys_folder / f"{stored.id}.json").write_text(stored.model_dump_json())
        return key

    def queue(self, name: str = "default", version: int = 1, **spec: Any) -> None:
        """Take in an AnalysisQueue."""
        template = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
        self.service.cache.put_queue({
            "metadata": {"name": name, "namespace": "n", "uid": f"q-{name}", "resourceVersion": str(version)},
            "spec": {"workerTemplate": template} | spec,
        })  # fmt: skip

    def job(self, uid: str, version: int = 10, phase: str = "Queued", **spec: Any) -> str:
        """Take in an AnalysisJob; its id."""
        self.service.cache.put_job({
            "metadata": {"name": uid, "namespace": "n", "uid": uid, "resourceVersion": str(version),
                         "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"videoUrl": "https://example.com/v"} | spec,
            "status": {"phase": phase},
        })  # fmt: skip
        return uid


@asynccontextmanager
async def served(keys_folder: Path, **environment: str) -> AsyncIterator[Served]:
    """Serve with settings of KLIPSTREAM_*, given without that prefix."""
    given = {f"KLIPSTREAM_{name}": value for name, value in environment.items()}
    settings = Settings.from_environment("n", {"KLIPSTREAM_KEYS_FOLDER": str(keys_folder)} | given)
    problems: list[str] = []
    metrics = Metrics()
    async with Client(Connection("http://127.0.0.1:9")) as client:
        service = make_service(settings, client, lambda: problems)
        front = Front(settings, Access(KeyFolder(keys_folder), None), RateLimiter(settings.rates, "memory"), metrics)
        app = front.application(service.routes)
        add_dashboard(app, front, service, client.now)
        server = TestServer(app)
        await server.start_server()  # with handler_cancellation, as runtime.py has it
        try:
            async with aiohttp.ClientSession(server.make_url("/")) as session:
                yield Served(service, session, metrics, keys_folder, problems)
        finally:
            await server.close()
