"""One replica of the gateway: feeds, cache, web server."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from klipstream_gateway.access import Access
from klipstream_gateway.cluster import ANALYSIS_JOBS, ANALYSIS_QUEUES
from klipstream_gateway.dashboard.server import add_dashboard
from klipstream_gateway.description import description_routes
from klipstream_gateway.http import Front
from klipstream_gateway.keys import KeyFolder
from klipstream_gateway.metrics import Metrics
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.service import make_service
from klipstream_gateway.settings import Settings
from klipstream_gateway.tokens import Tokens
from klipstream_gateway.traces import Traces
from klipstream_kube import Client, Reflector, Resource
from klipstream_kube.client import Object
from klipstream_service.pages import metrics, pages
from klipstream_service.tasks import none_ends
from klipstream_service.tracing import Tracing

log = logging.getLogger(__name__)
LAST_ANSWERS_SECONDS = 5.0
LEAVE_SECONDS = 1.0
"""How long requests are still taken after a signal: until the Service sends them elsewhere."""


class Runtime:
    """Serves until told to stop. Holds nothing that another replica would miss."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings = settings
        self.client = client
        self.stopping = asyncio.Event()
        self.metrics = Metrics()
        client.on_request = self.metrics.asked
        self.rates = RateLimiter(settings.rates, settings.rate_storage, settings.rate_storage_ca)
        self.tracing = Tracing.where_asked(settings.tracing, "klipstream-gateway", socket.gethostname())
        traces = Traces(self.tracing) if self.tracing is not None else None
        self.service = make_service(settings, client, self.problems, self.public_problems, traces)
        cache = self.service.cache
        self._feeds = {
            "queues": self._feed(ANALYSIS_QUEUES, cache.put_queue, cache.remove_queue),
            "jobs": self._feed(ANALYSIS_JOBS, cache.put_job, cache.remove_job),
        }
        self.metrics.gauge("streams", "Event streams that are open.", lambda: float(self.service.hub.count))
        self.metrics.gauge("cached_jobs", "AnalysisJobs that are known.", lambda: float(len(cache.jobs)))
        self.metrics.gauge("unreadable_objects", "Objects of a version that is not understood.",
                           lambda: float(len(cache.unreadable)))  # fmt: skip
        self.metrics.gauge("rate_limits_alone", "1 where this replica counts requests by itself, Redis being away.",
                           lambda: float(self.rates.alone))  # fmt: skip

    def problems(self) -> list[str]:
        """What keeps this replica from being ready, for administrators: it may name the API server, our account and
        the namespace."""
        if self.stopping.is_set():
            return ["this replica is being stopped"]
        feeds = self._feeds.values()
        waiting = [f"{feed.name} are being listed" for feed in feeds if not feed.synced.is_set()]
        return [feed.problem for feed in feeds if feed.problem is not None] or waiting

    def public_problems(self) -> list[str]:
        """The same for everybody, in words that tell nothing of the cluster."""
        if self.stopping.is_set():
            return ["this replica is being stopped"]
        waiting = [f"{what} are being listed" for what, feed in self._feeds.items() if not feed.synced.is_set()]
        return [
            f"{what} are not being read from the cluster"
            for what, feed in self._feeds.items()
            if feed.problem is not None
        ] or waiting

    def stop(self) -> None:
        """Have `run` return."""
        self.stopping.set()

    async def run(self) -> None:
        """Serve until told to stop. Raises whatever ends a background task."""
        settings = self.settings
        tokens = (
            Tokens(self.client, settings.namespace, settings.token_audience) if settings.kubernetes_tokens else None
        )
        access = Access(KeyFolder(settings.keys_folder), tokens)
        front = Front(settings, access, self.rates, self.metrics)
        routes = (*self.service.routes, *description_routes(self.service.routes))
        app = front.application(routes)
        add_dashboard(app, front, self.service, self.client.now)
        async with (
            pages(settings.metrics_host, settings.metrics_port, {"/metrics": metrics(self.metrics.registry)}),
            _serving(app, settings.host, settings.port),
            asyncio.TaskGroup() as tasks,
        ):
            feeds = [tasks.create_task(feed.run(), name=f"watch of {feed.name}") for feed in self._feeds.values()]
            watching = tasks.create_task(none_ends(feeds), name="watch over the others")
            log.info("Serving namespace %s on port %d", settings.namespace, settings.port)
            await self.stopping.wait()
            await asyncio.sleep(LEAVE_SECONDS)
            watching.cancel()
            for feed in feeds:
                feed.cancel()
        if self.tracing is not None:
            self.tracing.close()

    def _feed(self, resource: Resource, seen: Callable[[Object], object], gone: Callable[[Object], None]) -> Reflector:
        def upsert(obj: Object) -> None:
            seen(obj)

        def synced() -> None:
            self.service.hub.listed(feed.version)

        feed = Reflector(
            self.client, resource, self.settings.namespace,
            on_upsert=upsert, on_delete=gone, on_synced=synced, log=log,
        )  # fmt: skip
        self.service.hub.watches.append(lambda: feed.version)
        return feed


@contextlib.asynccontextmanager
async def _serving(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    # A handler whose caller has left is cancelled; a write that is on its way goes on (kube's transport).
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_ANSWERS_SECONDS, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()
