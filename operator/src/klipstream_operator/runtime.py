"""One replica of the operator put together: feeds, store, progress, and, while it leads, the writers."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from klipstream_kube import JOBS, PODS, ApiError, Client, LeaseElector, LeaseLost, Reflector, Resource, Unreachable
from klipstream_operator.acceptance import Acceptance
from klipstream_operator.admission import Admission
from klipstream_operator.certificate import Authority, Certificate
from klipstream_operator.identity import Identities
from klipstream_operator.jobs import WorkerContract
from klipstream_operator.layouts import Layouts
from klipstream_operator.log_archive import LogArchive
from klipstream_operator.log_progress import LogProgress
from klipstream_operator.log_store import LogStore
from klipstream_operator.observability import Observability
from klipstream_operator.progress import ProgressBook
from klipstream_operator.progress_forwarder import ProgressForwarder
from klipstream_operator.progress_receiver import ProgressReceiver
from klipstream_operator.progress_server import ProgressServer
from klipstream_operator.purger import Purger
from klipstream_operator.queue_writer import QueueWriter
from klipstream_operator.reconciler import Reconciler
from klipstream_operator.replayer import Replayer
from klipstream_operator.settings import Settings
from klipstream_operator.status_writer import ANALYSIS_JOBS, ANALYSIS_QUEUES, StatusWriter
from klipstream_operator.store import QueueKey, Store
from klipstream_operator.sweep import CHILDREN, Sweep
from klipstream_operator.taking import take_queue
from klipstream_operator.turnstile import Turnstile
from klipstream_operator.workload import JobView, PodView, view_job, view_pod
from klipstream_sealing import RingFile
from klipstream_service.pages import metrics, pages
from klipstream_service.tasks import none_ends
from klipstream_service.tracing import Tracing

log = logging.getLogger(__name__)
LIST_RETRY_SECONDS = 1.0
CANDIDATE_RETRY_SECONDS = 0.5
"""How often a standby looks at the Lease: it leads that long after it was released at the latest."""
FIRST_LOOK_SECONDS = 3.0
"""For the answer to whether anybody wants the Lease, before the caches are filled."""
FILLED_SECONDS = 60.0
"""How long the Lease is held while they are filled: another replica may be able to."""
LOOKED_AT_ONCE = 200
"""Jobs that a new leader puts before the reconciler without a pause …"""
LOOK_SECONDS = 0.005
"""… of this length."""
LAST_WRITES_SECONDS = 3.0
"""How long the writes that are on their way are waited for when a leader steps down."""
LAST_PROGRESS_SECONDS = 3.0
"""How long progress that was taken is still tried to be written at the end."""
SILENT_SECONDS = 10.0
"""Beyond the time between two renewals: an API server that answers nothing for that long is out of reach."""


class Runtime:
    """Everything but Kopf. `run`, and `work` within it, end by `stop`, an error, a lost Lease or cancellation."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings = settings
        self.client = client
        self.leading = False
        self.stopping = asyncio.Event()
        self._tried = asyncio.Event()
        """Set once the Lease was tried to be taken early, or will not be: the caches may be filled."""
        shard = settings.shard
        self.store = Store(self._job_changed, self._queue_changed, self._unaccepted_changed, shard, self._look_at_queue)
        traced = settings.tracing
        tracing = Tracing.where_asked(traced, "klipstream-operator", settings.identity)
        self.shown = Observability(client, self.store, settings.identity, settings.events, tracing)
        self.elector = LeaseElector(
            client,
            name=shard.lease_name(settings.lease_name),
            namespace=settings.lease_namespace,
            identity=settings.identity,
            lease_seconds=settings.lease_seconds,
            renew_seconds=settings.lease_seconds / 3,
            retry_seconds=min(settings.lease_seconds / 7.5, CANDIDATE_RETRY_SECONDS),
            log=log,
        )
        self.layouts = Layouts(client, settings.lease_namespace, settings.lease_name, shard)
        turnstile = Turnstile()
        fenced = StatusWriter(client, self.store, self.elector.check, turnstile, self.shown.job_written)
        authority = Authority(settings.tls_ca) if settings.tls_ca is not None else None

        def contract() -> WorkerContract:
            pem = authority.pem() if authority is not None else None
            return WorkerContract(settings.progress_url, pem, traced.ratio if traced is not None else None)

        self.acceptance = Acceptance(self.store, fenced)
        logs = LogStore(settings.results_claim)
        self.archive = LogArchive(client, self.store, fenced, logs) if settings.archive_logs else None
        self.purger = Purger(client, self.store, fenced, logs, settings.archive_logs)
        self.reconciler = Reconciler(client, self.store, fenced, contract, self.shown.metrics.reconciling)
        self.namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
        self.sweep = Sweep(
            client, fenced, self.namespaces, settings.sweep_seconds,
            self._watched_version, self.shown.metrics.repaired,
        )  # fmt: skip
        self.admission = Admission(
            self.store,
            lambda key: QueueWriter(
                key, client, self.store, turnstile, self.elector.check, self.sweep, contract, self.shown.queue_written
            ),
        )
        self.replayer = Replayer(client, self.store, fenced, self.elector.check)
        # Progress is taken by every replica, so its writes are guarded by what they read and not by the Lease.
        self.unfenced = StatusWriter(client, self.store, None, Turnstile(), self.shown.job_written)
        self.book = ProgressBook(self.store, self.unfenced)
        self.log_progress = LogProgress(client, self.store, self.book)
        ring = RingFile(settings.sealing_ring) if settings.sealing_ring is not None else None
        common = urlsplit(settings.progress_url).hostname
        others = ProgressForwarder(shard, settings.shard_url, common, authority)
        self.receiver = ProgressReceiver(self.store, self.book, Identities(client), ring, others)
        pair = (settings.tls_certificate, settings.tls_key)
        self.certificate = Certificate(pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None
        self._watches: dict[tuple[Resource, str | None], Reflector] = {}
        self.reflectors = [reflector for namespace in self.namespaces for reflector in self._reflectors(namespace)]
        self.shown.gauge("reconcile_queue_length", "AnalysisJobs that wait to be looked at.",
                         lambda: float(self.reconciler.queue_length))  # fmt: skip
        self.shown.gauge("lease_renewal_age_seconds", "Since the Lease was renewed; NaN while it is not held.",
                         self.elector.renewal_age_seconds)  # fmt: skip

    # --- what changed ----------------------------------------------------------------------------------------

    def _job_changed(self, uid: str) -> None:
        if self.leading:
            self.reconciler.enqueue(uid)
            self._look_at_finished(uid)
            self.log_progress.look(uid)

    def _look_at_finished(self, uid: str) -> None:
        self.purger.look(uid)
        if self.archive is not None:
            self.archive.look(uid)

    def _queue_changed(self, key: QueueKey) -> None:
        if self.leading:
            self.admission.enqueue(key)
        self._look_at_queue(key)

    def _look_at_queue(self, key: QueueKey) -> None:
        self.shown.queue_seen(key)
        if self.leading:
            self.replayer.look(key)
            self.purger.look_at_queue(key)

    def _unaccepted_changed(self) -> None:
        self.acceptance.wanted.set()

    # --- feeds -----------------------------------------------------------------------------------------------

    def _reflectors(self, namespace: str | None) -> list[Reflector]:
        def reflector(
            resource: Resource,
            selector: str | None,
            upsert: Callable[[dict[str, Any]], object],
            delete: Callable[[str], object],
            listed: Callable[[str | None, int, set[str]], None],
        ) -> Reflector:
            watch = self._watches[resource, namespace] = Reflector(
                self.client,
                resource,
                namespace,
                label_selector=selector,
                on_upsert=lambda obj: (upsert(obj), None)[1],
                on_delete=lambda obj: (delete(obj["metadata"]["uid"]), None)[1],
                on_listed=partial(listed, namespace),
                on_synced=lambda: self.shown.metrics.listed(resource.qualified_name),
                log=log,
            )
            return watch

        return [
            reflector(
                ANALYSIS_JOBS,
                None,
                partial(self._take_analysis_job, namespace),
                self.store.remove_job,
                self.store.keep_listed_jobs,
            ),
            reflector(
                JOBS,
                CHILDREN,
                self._take_job,
                self.store.remove_workload,
                partial(self.store.keep_listed_workloads, JobView),
            ),
            reflector(
                PODS,
                CHILDREN,
                self._take_pod,
                self.store.remove_workload,
                partial(self.store.keep_listed_workloads, PodView),
            ),
        ]

    def _take_analysis_job(self, namespace: str | None, obj: dict[str, Any]) -> None:
        if not self.sweep.is_past(obj, namespace):
            self.unfenced.take(obj)

    def _take_job(self, obj: dict[str, Any]) -> None:
        if self.store.shard.sees_workload(obj) and (view := view_job(obj)) is not None:
            self.store.put_workload(view)

    def _take_pod(self, obj: dict[str, Any]) -> None:
        if self.store.shard.sees_workload(obj) and (view := view_pod(obj)) is not None:
            self.store.put_workload(view)

    def queue_event(self, event_type: str | None, obj: dict[str, Any]) -> None:
        """What Kopf saw of an AnalysisQueue."""
        if event_type == "DELETED":
            metadata = obj["metadata"]
            key = (metadata["namespace"], metadata["name"])
            self.store.remove_queue(key, metadata["uid"], self.client.now())
        else:
            take_queue(obj, self.store, self.client)

    def _watched_version(self, resource: Resource, namespace: str | None) -> int:
        """How far the watch of a resource has come."""
        return self._watches[resource, namespace].version

    def problems(self) -> list[str]:
        """What keeps this replica from serving; empty when it is ready, which a standby is as well."""
        if self.stopping.is_set():
            return ["this replica is being stopped"]
        found = [reflector.problem for reflector in self.reflectors if reflector.problem is not None]
        if not found and not all(reflector.synced.is_set() for reflector in self.reflectors):
            found.append("the caches are being filled")
        # The leader renews its Lease and a standby looks at it, so that silence says something.
        silent_seconds = self.client.silent_seconds()
        if not found and silent_seconds > self.settings.lease_seconds / 3 + SILENT_SECONDS:
            found.append(f"the API server has not answered for {silent_seconds:.0f} s")
        return found

    # --- running ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Listen and work."""
        async with self._sockets():
            await self.work()

    @asynccontextmanager
    async def _sockets(self) -> AsyncIterator[None]:
        """The progress endpoint and the metrics, for as long as the work goes on."""
        server = ProgressServer(self.receiver, self.problems)
        runner = await server.serve(self.settings.progress_host, self.settings.progress_port,
                                    self.certificate.context if self.certificate is not None else None)  # fmt: skip
        try:
            scraped = {"/metrics": metrics(self.shown.metrics.registry)}
            async with pages(self.settings.metrics_host, self.settings.metrics_port, scraped):
                yield
        finally:
            await runner.cleanup()

    def stop(self) -> None:
        """Have `work` hand over and return: the Lease is released, and what was promised to workers is written."""
        if not self.stopping.is_set():
            log.info("Told to end: %s", "the Lease is handed over" if self.leading else "it is not the leader")
        self.stopping.set()
        self._tried.set()

    async def work(self) -> None:
        """Fill the caches, write the progress that `receiver` takes, and lead when the Lease is won; no socket."""
        recorder = self.shown.recorder
        try:
            async with asyncio.TaskGroup() as tasks:
                leading = tasks.create_task(self._lead(), name="leading")
                await self._tried.wait()  # only what is listed after the Lease was taken need not be listed again
                feeds = [tasks.create_task(each.run(), name=f"watch of {each.name}") for each in self.reflectors]
                feeds.append(tasks.create_task(self.book.run(), name="progress"))
                if recorder is not None:
                    feeds.append(tasks.create_task(recorder.run(), name="events"))
                if self.certificate is not None:
                    feeds.append(tasks.create_task(self.certificate.follow(), name="certificate"))
                watching = tasks.create_task(none_ends([*feeds, leading]), name="watch over the others")
                await self.stopping.wait()
                watching.cancel()
                leading.cancel()
                await asyncio.wait({leading})
                # Another may lead from here on; workers are still sent to this replica for a while.
                await asyncio.sleep(self.settings.linger_seconds)
                for feed in feeds:
                    feed.cancel()
        finally:
            await self.book.finish(LAST_PROGRESS_SECONDS)
            if recorder is not None:
                await recorder.drain(seconds=1.0)
            if self.shown.tracing is not None:
                self.shown.tracing.close()

    async def _lead(self) -> None:
        """Take the Lease, early if nobody wants it, or else with full caches, and write; LeaseLost ends the process."""
        try:
            early = await self._took_it_early()
            self._tried.set()
            async with asyncio.TaskGroup() as tasks:
                renewing = await self._lead_at_once(tasks) if early else None
                if renewing is None:
                    renewing = await self._stand_by(tasks)
                await none_ends([renewing, *self._take_over(tasks)])
        finally:
            self._tried.set()
            self.leading = False
            self.shown.leads(False)
            # A successor must not find a write of ours coming in after its own.
            if not await self.client.writes_are_answered(LAST_WRITES_SECONDS):
                log.warning("Some writes are still unanswered after %g s; the Lease is given up all the same",
                            LAST_WRITES_SECONDS)  # fmt: skip
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WRITES_SECONDS):
                    await self.elector.release()

    async def _took_it_early(self) -> bool:
        """Whether the Lease is ours before anything is listed, so that nothing has to be listed twice.

        Only if no standby wants it: that one's caches are full.
        """
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                abandoned = await self.elector.is_abandoned(1.5 * CANDIDATE_RETRY_SECONDS)
        except (ApiError, Unreachable, TimeoutError):
            return False
        return abandoned and await self.layouts.take_if_free(self.elector)

    async def _lead_at_once(self, tasks: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        """Fill the caches with the Lease in hand; the task that renews it, or None if that takes too long.

        What was listed under the Lease is all that was written before it; of AnalysisQueues, which Kopf lists, nobody
        knows when.
        """
        renewing = tasks.create_task(self.elector.hold(), name="renewal of the Lease")
        try:
            async with asyncio.timeout(FILLED_SECONDS):
                await self._filled()
        except TimeoutError:
            log.warning("The caches are not full after %g s; the Lease is given up until they are", FILLED_SECONDS)
            renewing.cancel()
            await asyncio.wait({renewing})
            # A renewal on its way must not come in after the release, or after another acquisition.
            if not await self.client.writes_are_answered(LAST_WRITES_SECONDS):
                raise LeaseLost("a renewal is still unanswered while the Lease is given up") from None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WRITES_SECONDS):
                    await self.elector.release()
            return None
        await self._until_listed(self._list_queues, self.sweep.stop_unreserved)
        return renewing

    async def _stand_by(self, tasks: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Wait for the Lease with full caches, then list everything live; the task that renews it.

        A watch may lag: without this a new leader could take a job while it does not know yet that its predecessor
        has accepted one that comes first.
        """
        await self._filled()
        with contextlib.suppress(ApiError, Unreachable):  # a leader lists them again
            await self._list_queues()
        log.info("Caches are full: %d AnalysisJobs. Waiting for the Lease %s/%s.", len(self.store.jobs),
                 self.settings.lease_namespace, self.settings.shard.lease_name(self.settings.lease_name))  # fmt: skip
        await self.layouts.acquire(self.elector)
        renewing = tasks.create_task(self.elector.hold(), name="renewal of the Lease")
        await self._until_listed(*(partial(self.sweep.sweep, namespace) for namespace in self.namespaces))
        return renewing

    async def _filled(self) -> None:
        for reflector in self.reflectors:
            await reflector.synced.wait()

    async def _until_listed(self, *listings: Callable[[], Awaitable[object]]) -> None:
        """Do all of it, again from the beginning after an error."""
        while True:
            try:
                for listing in listings:
                    await listing()
                return
            except (ApiError, Unreachable) as error:
                log.warning("Not everything can be listed yet: %s", error)
                await asyncio.sleep(LIST_RETRY_SECONDS)

    def _take_over(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start what only the leader does."""
        self.leading = True
        self.shown.leads(True)
        log.info("Leading as %s: %d AnalysisQueues in shard %s", self.settings.identity, len(self.store.queues),
                 self.settings.shard)  # fmt: skip
        tasks.create_task(self._look_at_everything(), name="first look at everything")
        for key in list(self.store.queues):
            self.purger.look_at_queue(key)
        self.acceptance.wanted.set()
        self.replayer.wanted.set()
        works = {
            "admission": self.admission.run(),
            "acceptance": self.acceptance.run(),
            "reconciler": self.reconciler.run(),
            "sweep": self.sweep.run(),
            "replays": self.replayer.run(),
            "purge": self.purger.run(),
            "progress from logs": self.log_progress.run(),
        }
        if self.archive is not None:
            works["log archive"] = self.archive.run()
        return [tasks.create_task(work, name=name) for name, work in works.items()]

    async def _look_at_everything(self) -> None:
        """Look at each job once, those with a slot first, and few at a time: what is reserved meanwhile goes ahead."""
        for number, uid in enumerate([*self.store.reservations, *self.store.jobs], 1):
            if self.reconciler.queue_length >= LOOKED_AT_ONCE:
                await asyncio.sleep(LOOK_SECONDS)
            elif number % LOOKED_AT_ONCE == 0:  # finished ones make no queue, but take their time all the same
                await asyncio.sleep(0)
            self.reconciler.enqueue(uid)
            self._look_at_finished(uid)

    async def _list_queues(self) -> None:
        """What a standby knows of queues when its caches are full; Kopf's own list may still be under way."""
        for namespace in self.namespaces:
            items, _ = await self.client.list(ANALYSIS_QUEUES, namespace)
            for obj in items:
                take_queue(obj, self.store, self.client)
