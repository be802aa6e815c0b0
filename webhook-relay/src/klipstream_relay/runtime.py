"""The relay put together: feeds, announcer, dispatcher and acknowledgements, while the Lease is held."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from klipstream_convex.deployment import Deployment
from klipstream_convex.runtime import ConvexSide
from klipstream_convex.settings import Settings as ConvexSettings
from klipstream_convex.shadow import Kind
from klipstream_kube import ApiError, Client, LeaseElector, Reflector, Resource, Unreachable
from klipstream_kube.client import Object
from klipstream_kube.clock import steady_clock
from klipstream_relay.acknowledgement import ANALYSIS_JOBS, ANALYSIS_QUEUES, Acknowledger
from klipstream_relay.announcer import Announcer
from klipstream_relay.authorised import sender_of
from klipstream_relay.deliveries import Delivery
from klipstream_relay.directory import Directory, endpoint_from
from klipstream_relay.dispatcher import Dispatcher
from klipstream_relay.ledger import Ledger
from klipstream_relay.metrics import Metrics
from klipstream_relay.sender import Outcome
from klipstream_relay.settings import Settings
from klipstream_relay.traces import Traces
from klipstream_service.pages import metrics, pages, probe
from klipstream_service.tasks import none_ends
from klipstream_service.tracing import Tracing

log = logging.getLogger(__name__)
CURRENT_EVERY_SECONDS = 10.0
LAST_DELIVERIES_SECONDS = 5.0
"""How long deliveries that are on their way are waited for at the end; others are sent again, with the same id."""
LAST_REQUEST_SECONDS = 3.0


def show(convex: ConvexSide, metrics: Metrics) -> None:
    """What is to be seen of the Convex side."""
    sink, requests = convex.sink, convex.requests
    metrics.gauge("convex_waiting", "Updates that Convex has not confirmed yet.", lambda: float(len(sink)))
    metrics.gauge("convex_told", "Updates that Convex has taken since the start.", lambda: float(sink.told))
    metrics.gauge("convex_dead_letters", "Objects that Convex does not take.", lambda: float(len(sink.dead_letters)))
    metrics.gauge("convex_drift", "Rows that the last sweep had to mend; NaN before the first.",
                  lambda: float("nan") if convex.last_sweep is None else float(convex.last_sweep.mended))  # fmt: skip
    metrics.gauge("convex_problem", "1 while Convex is away or refuses us.", lambda: float(convex.problem is not None))
    metrics.gauge("convex_requests_carried_out", "Requests of apps that were carried out since the start.",
                  lambda: float(requests.carried_out))  # fmt: skip
    metrics.gauge("convex_requests_refused", "Requests of apps that were refused since the start.",
                  lambda: float(requests.refused))  # fmt: skip


class Runtime:
    """Two of them never announce at once: the ledger is locked by the process that works with it, and the Lease by
    one process of the cluster. If they did all the same (a partition), receivers would get webhooks twice, with the
    same ids; nothing would be lost."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        ledger: Ledger,
        metrics: Metrics,
        convex: tuple[ConvexSettings, Deployment] | None = None,
    ) -> None:
        """`convex` is where jobs and queues are shown as well, if anywhere."""
        self.settings = settings
        self.client = client
        self.ledger = ledger
        self.metrics = metrics
        self.directory = Directory()
        self.sender = sender_of(settings, client, self.directory, self._name_of)
        self.tracing = Tracing.where_asked(settings.tracing, "klipstream-relay", settings.identity)
        self.traces = Traces(self.tracing) if self.tracing is not None else None
        self.stopping = asyncio.Event()
        self.leading = False
        self._now = steady_clock()
        self.elector = LeaseElector(
            client,
            name=settings.lease_name,
            namespace=settings.lease_namespace,
            # The ledger is locked, so whoever held the Lease for it has ended: its successor need not wait. One that
            # only seems to have ended finds the number of transitions changed, and stops.
            identity=f"ledger-{ledger.identity}",
            lease_seconds=settings.lease_seconds,
            renew_seconds=settings.lease_seconds / 3,
            retry_seconds=min(settings.lease_seconds / 7.5, 2.0),
            log=log,
        )
        self.acknowledger = Acknowledger(client, ledger, client.now)
        self.dispatcher = Dispatcher(
            ledger,
            self._send,
            self.directory.url,
            now=self._now,
            retries=settings.retries,
            breakers=settings.breakers,
            limits=settings.limits,
            on_final=self.acknowledger.look,
            shown=metrics,
        )
        self.announcer = Announcer(
            ledger,
            self.directory,
            now=client.now,
            progress_seconds=settings.progress_seconds,
            on_recorded=self.dispatcher.look,
            on_finished=self.acknowledger.look,
        )
        self._namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
        self._reflectors: list[Reflector] = []
        self._watched: dict[Kind, list[Reflector]] = {"job": [], "queue": []}
        self.convex: ConvexSide | None = None
        if convex is not None:
            resources: dict[Kind, Resource] = {"job": ANALYSIS_JOBS, "queue": ANALYSIS_QUEUES}
            self.convex = ConvexSide(*convex, client, resources, self._seen_until)
            show(self.convex, metrics)
        metrics.gauge("leading", "1 while this relay announces.", lambda: float(self.leading))
        metrics.gauge("deliveries_on_their_way", "Tries that are under way.", lambda: float(self.dispatcher.out))
        metrics.gauge("pending", "Deliveries that are still to arrive.", lambda: float(self.dispatcher.pending))
        metrics.gauge("dead_letters", "Deliveries that were given up and are kept.",
                      lambda: float(self.dispatcher.dead))  # fmt: skip
        metrics.gauge("oldest_pending_seconds", "Age of the oldest delivery that is still to arrive.",
                      self._oldest_pending_seconds)  # fmt: skip
        metrics.gauge("open_circuits", "Endpoints that are taken to be down.",
                      lambda: float(self.dispatcher.open_circuits))  # fmt: skip

    async def _send(self, delivery: Delivery) -> Outcome:
        if self.traces is None:
            return await self.sender.send(delivery)
        return await self.traces.sending(delivery, self.sender.send)

    async def _name_of(self, uid: str) -> str | None:
        job = await self.ledger.read(lambda file: file.job(uid))
        return job.name if job is not None else None

    def _oldest_pending_seconds(self) -> float:
        oldest = self.dispatcher.oldest_pending
        return 0.0 if oldest is None else max(0.0, self._now() - oldest)

    def problems(self) -> list[str]:
        """What keeps this relay from announcing; empty while it does."""
        if self.stopping.is_set():
            return ["this relay is being stopped"]
        if not self.leading:
            return [f"another relay holds the Lease {self.settings.lease_name}, or nobody could be asked"]
        found = [each.problem for each in self._reflectors if each.problem is not None]
        if not found and not all(each.synced.is_set() for each in self._reflectors):
            found.append("the jobs are being listed")
        return found

    async def run(self) -> None:
        """Announce until told to stop. Raises LeaseLost, and whatever ends a background task."""
        async with contextlib.AsyncExitStack() as stack:
            shown = {
                "/healthz": probe("live", list),
                "/readyz": probe("ready", self.problems),
                "/metrics": metrics(self.metrics.registry),
            }
            await stack.enter_async_context(pages(self.settings.http_host, self.settings.http_port, shown))
            await stack.enter_async_context(self.sender)
            leading = asyncio.create_task(self._lead(), name="leading")
            stopping = asyncio.create_task(self.stopping.wait(), name="stopping")
            try:
                await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not leading.done():
                    await self.dispatcher.drain(LAST_DELIVERIES_SECONDS)
            finally:
                stopping.cancel()
                leading.cancel()
                await asyncio.wait({leading})
                if self.tracing is not None:
                    self.tracing.close()
            if not leading.cancelled() and (error := leading.exception()) is not None:
                raise error

    def stop(self) -> None:
        """Have `run` return, once what is on its way has been answered."""
        self.stopping.set()

    async def _lead(self) -> None:
        await self.elector.acquire()
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(self.elector.hold(), name="renewal of the Lease")
                await none_ends([renewing, *await self._work(tasks)])
        finally:
            self.leading = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_REQUEST_SECONDS):
                    await self.elector.release()

    async def _work(self, tasks: asyncio.TaskGroup) -> list["asyncio.Task[None]"]:
        """1. What the ledger knows. 2. The queues, since they have endpoints. 3. The jobs, and deliveries meanwhile."""
        await self.ledger.write(lambda file: file.forget_unused_callbacks())
        for key, facts, _, _ in await self.ledger.read(lambda file: file.endpoints()):
            if key.startswith("callback/"):
                self.directory.put_callback(endpoint_from(key, facts))
        await self.announcer.load()
        queues = self._watched["queue"] = [self._queues_of(namespace) for namespace in self._namespaces]
        self._reflectors = list(queues)
        works = [tasks.create_task(each.run(), name=f"watch of {each.name}") for each in queues]
        self.leading = True
        for each in queues:
            await each.synced.wait()
        jobs = self._watched["job"] = [self._jobs_of(namespace) for namespace in self._namespaces]
        self._reflectors += jobs
        works += [tasks.create_task(each.run(), name=f"watch of {each.name}") for each in jobs]
        await self.dispatcher.load()
        works += [
            tasks.create_task(self.announcer.run(), name="announcer"),
            tasks.create_task(self.dispatcher.run(), name="dispatcher"),
            tasks.create_task(self.acknowledger.run(), name="acknowledgements"),
            tasks.create_task(self._keep_current(jobs), name="relist"),
        ]
        if self.convex is not None:
            works.append(tasks.create_task(self._show_in_convex(self.convex), name="Convex"))
        log.info("Announcing as %s, with the ledger %s", self.settings.identity, self.settings.ledger)
        return works

    def _queues_of(self, namespace: str | None) -> Reflector:
        announcer = self.announcer
        return self._reflector("queue", ANALYSIS_QUEUES, namespace, announcer.queue_seen, announcer.queue_gone)

    def _jobs_of(self, namespace: str | None) -> Reflector:
        return self._reflector("job", ANALYSIS_JOBS, namespace, self.announcer.job_seen, self.announcer.job_gone)

    def _reflector(
        self,
        kind: Kind,
        resource: Resource,
        namespace: str | None,
        seen: Callable[[Object], None],
        gone: Callable[[Object], None],
    ) -> Reflector:
        traces = self.traces if kind == "job" else None

        def on_upsert(obj: Object) -> None:
            if traces is not None:
                traces.seen(obj)
            seen(obj)
            if self.convex is not None:
                self.convex.seen(kind, obj)

        def on_delete(obj: Object) -> None:
            gone(obj)
            if traces is not None:
                traces.gone(obj)
            if self.convex is not None:
                self.convex.gone(kind, obj)

        return Reflector(self.client, resource, namespace, on_upsert=on_upsert, on_delete=on_delete, log=log)

    async def _show_in_convex(self, convex: ConvexSide) -> None:
        """Once everything was listed, as long as this relay runs."""
        for each in self._reflectors:
            await each.synced.wait()
        await convex.run()

    def _seen_until(self, kind: Kind) -> int:
        return min((each.version for each in self._watched[kind]), default=0)

    async def _keep_current(self, jobs: list[Reflector]) -> None:
        """Note until when everything was seen, and list all jobs now and then, for what a watch swallowed."""
        for each in jobs:
            await each.synced.wait()
        await self.announcer.listed(self.settings.namespaces)
        relist_at = self._now() + self.settings.relist_seconds
        while True:
            if all(each.problem is None for each in self._reflectors):
                await self.announcer.settled()
            await asyncio.sleep(CURRENT_EVERY_SECONDS)
            if self._now() >= relist_at:
                relist_at = self._now() + self.settings.relist_seconds
                with contextlib.suppress(ApiError, Unreachable):  # the reflectors say so
                    await self._relist()

    async def _relist(self) -> None:
        for namespace in self._namespaces:
            async for page in self.client.list_pages(ANALYSIS_JOBS, namespace):
                for obj in page.get("items") or []:
                    self.announcer.job_seen(obj)
