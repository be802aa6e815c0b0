"""The gateway's parts put together, without a web server."""

from collections.abc import Callable
from dataclasses import dataclass

from klipstream_gateway.administration import Administration
from klipstream_gateway.api import Meta, routes
from klipstream_gateway.cache import Cache
from klipstream_gateway.cluster import Cluster
from klipstream_gateway.forecast import Forecasts
from klipstream_gateway.hub import Hub
from klipstream_gateway.jobs import JobOperations
from klipstream_gateway.logs import WorkerLogs
from klipstream_gateway.operator_requests import OperatorRequests
from klipstream_gateway.places import Places
from klipstream_gateway.queue_config import QueueConfiguration
from klipstream_gateway.queue_figures import QueueReports
from klipstream_gateway.routes import Route
from klipstream_gateway.settings import Settings
from klipstream_gateway.streams import Streams
from klipstream_gateway.submission import Sealer
from klipstream_gateway.traces import Traces
from klipstream_gateway.views import Views
from klipstream_kube import Client
from klipstream_netguard import Rules
from klipstream_results.logs import LogStore


@dataclass(frozen=True, slots=True)
class Service:
    """What answers, and what it answers from."""

    cache: Cache
    hub: Hub
    routes: tuple[Route, ...]
    views: Views
    places: Places


def make_service(
    settings: Settings,
    client: Client,
    problems: Callable[[], list[str]],
    public_problems: Callable[[], list[str]] | None = None,
    traces: Traces | None = None,
) -> Service:
    """Everything that the routes need. `problems` are what keeps the replica from being ready, `public_problems` the
    same in words for everybody; where absent these only say that there are some."""
    cache = Cache(client.now)
    cluster = Cluster(client, cache, settings.namespace, settings.lease_names, settings.lease_namespace)
    forecasts = Forecasts(cache, client.now)
    views = Views(cache, forecasts)
    hub = Hub(cache)
    sealer = Sealer(settings.sealing_key, settings.namespace)
    logs = WorkerLogs(cluster, cache, LogStore(settings.results_claim))
    rules = Rules.of(allowed_hosts=settings.allowed_callbacks)
    jobs = JobOperations(cluster, cache, views, sealer, rules, logs, traces)
    queues = QueueReports(cluster, cache, forecasts, client.now)
    administration = Administration(cluster, cache, OperatorRequests(cluster, cache))
    config = QueueConfiguration(cluster, cache)
    meta = Meta(problems, public_problems or (lambda: ["the cluster is not being read"] if problems() else []))
    places = Places(settings.streams_at_most, settings.streams_per_address, settings.streams_per_key)
    streams = Streams(hub, cache, views, jobs, queues, places)
    every_route = routes(jobs, queues, administration, config, streams, meta, settings.anonymous_submit)
    return Service(cache, hub, every_route, views, places)
