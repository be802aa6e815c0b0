"""The Convex side put together: what the relay's feeds bring goes to the sink; sweeps, signs of life and requests go on
beside it."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from klipstream_convex.deployment import Away, Deployment, FunctionFailed, Refused
from klipstream_convex.requests import Requests
from klipstream_convex.settings import Settings
from klipstream_convex.shadow import KINDS, Kind, Shadow, Update, update_of
from klipstream_convex.sink import Sink
from klipstream_convex.sweep import EpochEnded, Swept, sweep
from klipstream_kube import NAMESPACES, ApiError, Client, NotFound, Resource, Unreachable

log = logging.getLogger(__name__)
KEPT_SECONDS = 30 * 24 * 3600
"""Convex keeps finished jobs for so long; see convex/model/retention.ts."""
TRY_AGAIN_SECONDS = 5.0


class ConvexSide:
    """Feeds come in through `seen` and `gone`; `run` does the rest."""

    def __init__(
        self,
        settings: Settings,
        deployment: Deployment,
        client: Client,
        resources: dict[Kind, Resource],
        version: Callable[[Kind], int],
    ) -> None:
        """`version` says how far the feed of a kind has come; 0 while it lists."""
        self.settings = settings
        self.shadow = Shadow()
        self.sink = Sink(deployment, settings.cluster, flush_seconds=settings.flush_seconds)
        self.requests = Requests(
            deployment, client, resources["job"], self.shadow, settings.cluster, settings.namespace, client.now
        )
        self.last_sweep: Swept | None = None
        self.unreadable: set[str] = set()
        self._deployment = deployment
        self._client = client
        self._resources = resources
        self._version = version
        self._listed: dict[str, Update] | None = {}
        """What was seen before the first sweep, which finds out what of it Convex does not know."""
        self._sweep_now = asyncio.Event()
        self._swept = asyncio.Event()
        self._problem: str | None = None

    # --- what the feeds bring ------------------------------------------------------------------------------------

    def seen(self, kind: Kind, obj: dict[str, Any]) -> None:
        """An object, or what is new of it."""
        try:
            update = update_of(self.settings.cluster, kind, obj)
        except ValidationError as error:
            uid = obj["metadata"]["uid"]
            if uid not in self.unreadable:
                self.unreadable.add(uid)
                log.error("%s %s cannot be read and is not shown in Convex: %s", kind, obj["metadata"]["name"], error)
            return
        if not self.shadow.put(update) or self._expired(update):
            return
        if self._listed is not None:
            self._listed[update.uid] = update
        else:
            self.sink.put(update)

    def gone(self, kind: Kind, obj: dict[str, Any]) -> None:
        """An object was deleted."""
        metadata = obj["metadata"]
        self.shadow.remove(kind, metadata["uid"])
        if self._listed is not None:
            self._listed.pop(metadata["uid"], None)
        self.sink.put(Update(kind, metadata["uid"], int(metadata["resourceVersion"]), None))

    # --- running -------------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """What keeps Convex from showing what the cluster holds; None while it does."""
        return self.sink.problem or self._problem

    def sweep_soon(self) -> None:
        """Compare everything soon."""
        self._swept.clear()
        self._sweep_now.set()

    async def swept(self) -> Swept:
        """Wait for the end of the sweep that was asked for."""
        await self._swept.wait()
        assert self.last_sweep is not None
        return self.last_sweep

    async def run(self) -> None:
        """Never returns. The feeds must have listed everything first, and go on."""
        await self._persistently(self._greet, "greet")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sink.run(), name="telling Convex")
            tasks.create_task(self._sweep_at_times(), name="sweeping Convex")
            tasks.create_task(self._give_signs_of_life(), name="signs of life to Convex")
            if self.settings.requests_seconds:
                tasks.create_task(self._ask_for_requests(), name="requests from Convex")

    async def _greet(self) -> None:
        """Learn the epoch that what we tell belongs to."""
        system = await self._client.get(NAMESPACES, "kube-system")
        answer = await self._deployment.mutation(
            "sync:hello",
            cluster=self.settings.cluster,
            clusterUid=system["metadata"]["uid"],
            version=float(self._watched()),
        )
        epoch = int(answer["epoch"])
        if epoch != self.sink.epoch:
            log.info("Convex shows this cluster in epoch %d", epoch)
        self.sink.epoch = epoch

    async def _sweep_at_times(self) -> None:
        """At the start, when it is asked for, and every so often."""
        while True:
            self._sweep_now.clear()
            await self._persistently(self._sweep, "sweep")
            self._swept.set()
            try:
                async with asyncio.timeout(self.settings.sweep_seconds or None):
                    await self._sweep_now.wait()
            except TimeoutError:
                continue

    async def _sweep(self) -> None:
        began = time.monotonic()
        held, self._listed = self._listed or {}, None
        try:
            swept = await self._compare(held)
        except EpochEnded as ended:
            log.warning("%s: what Convex shows is replaced", ended)
            await self._begin_epoch()
            swept = await self._compare(held)
        except BaseException:
            for update in held.values():
                self.sink.put(update)
            raise
        self.last_sweep = swept
        log.log(
            logging.WARNING if swept.mended else logging.INFO,
            "Convex: %d rows compared in %.1f s, %d mended (%d missing, %d stale, %d different, %d left over)",
            swept.compared, time.monotonic() - began, swept.mended, swept.missing, swept.stale, swept.different,
            swept.left_over,
        )  # fmt: skip
        await self._heartbeat(drift=float(swept.mended))

    async def _compare(self, held: dict[str, Update]) -> Swept:
        async def read(kind: Kind, uid: str) -> Update | None:
            known, seen = held.get(uid), self.shadow.objects[kind].get(uid)
            if known is not None and seen is not None and seen.version == known.version:
                return known
            return await self._read_live(kind, uid)

        return await sweep(
            self._deployment, self.settings.cluster, self.shadow, self.sink, read, self._version, self._expired
        )

    async def _begin_epoch(self) -> None:
        answer = await self._deployment.mutation(
            "sync:restored", cluster=self.settings.cluster, epoch=float(self.sink.epoch)
        )
        self.sink.epoch = int(answer["epoch"])

    async def _give_signs_of_life(self) -> None:
        while True:
            await asyncio.sleep(self.settings.heartbeat_seconds)
            await self._persistently(self._heartbeat, "heartbeat")

    async def _heartbeat(self, **more: float) -> None:
        answer = await self._deployment.mutation(
            "sync:heartbeat", cluster=self.settings.cluster, epoch=float(self.sink.epoch),
            version=float(self._watched()), **more,
        )  # fmt: skip
        if not answer["current"]:
            log.warning("Another relay reports on the cluster %s in Convex: is it meant to?", self.settings.cluster)
            await self._greet()
            self._sweep_now.set()

    async def _ask_for_requests(self) -> None:
        while True:
            await self._persistently(self.requests.look, "requests")
            await asyncio.sleep(self.settings.requests_seconds)

    async def _persistently(self, act: Callable[[], Any], what: str) -> None:
        """Until it works: whatever is away comes back, and whoever has to act may."""
        while True:
            try:
                await act()
            except (Away, FunctionFailed, ApiError, Unreachable) as error:
                problem = f"Convex {what}: {error}"
                if problem != self._problem:
                    log.log(
                        logging.ERROR if isinstance(error, Refused | FunctionFailed) else logging.WARNING, "%s", problem
                    )
                self._problem = problem
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                if self._problem is not None and self._problem.startswith(f"Convex {what}:"):
                    self._problem = None
                return

    async def _read_live(self, kind: Kind, uid: str) -> Update | None:
        seen = self.shadow.objects[kind].get(uid)
        if seen is None:
            return None
        try:
            obj = await self._client.get(self._resources[kind], seen.name, seen.namespace)
            update = update_of(self.settings.cluster, kind, obj)
        except (NotFound, ValidationError):
            return None
        return update if update.uid == uid else None

    def _watched(self) -> int:
        return max(self._version(kind) for kind in KINDS)

    def _expired(self, update: Update) -> bool:
        finished = (update.row or {}).get("finishedAt")
        now: datetime = self._client.now()
        return finished is not None and now.timestamp() - finished / 1000 > KEPT_SECONDS
