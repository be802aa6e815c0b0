"""Leading only while nobody leads a shard of another layout: a change of their number gives no queue two leaders."""

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from klipstream_kube import LEASES, ApiError, Client, LeaseElector, Unreachable
from klipstream_operator.sharding import Shard

log = logging.getLogger(__name__)
LOOK_EVERY_SECONDS = 0.5
LOOK_ANEW_SECONDS = 1.0
"""For the second look of one try: nobody renews the Lease meanwhile."""
SAY_EVERY_SECONDS = 30.0
LONG_DEAD = 10
"""A Lease that was not renewed for so many times its duration is nobody's, also to who sees it for the first time."""


@dataclass(slots=True)
class Layouts:
    """The Leases of the same operator's shards, were there as many as now or not.

    Whoever leads a shard has taken its Lease first and looked at those of other layouts afterwards: of two candidates
    of different layouts the later one sees the other's Lease, whatever the order of their requests. It gives its own up
    then, and takes it no more before the other's is free, so that two never wait for each other.
    """

    client: Client
    namespace: str
    base: str
    """Name of the Lease where there is one shard only."""
    shard: Shard
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The version of each Lease, and when it was first seen."""
    _said: str = ""
    _said_at: float = float("-inf")

    async def acquire(self, elector: LeaseElector) -> None:
        """Wait until we hold our Lease while nobody holds one of another layout."""
        while True:
            if await self._others_are_gone():
                await elector.acquire()
                if await self._others_are_gone():
                    return
                await elector.release()
            # Not both at once again, if two meet.
            await asyncio.sleep(LOOK_EVERY_SECONDS * random.uniform(0.5, 2.0))  # noqa: S311

    async def take_if_free(self, elector: LeaseElector) -> bool:
        """One try: whether we hold our Lease now, while nobody holds one of another layout."""
        if not await self._others_are_gone():
            return False
        taken = await elector.take_if_free()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_ANEW_SECONDS):
                if taken and await self._others_are_gone():
                    return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_ANEW_SECONDS):
                await elector.release()  # also if the answer to the try was lost
        return False

    async def _others_are_gone(self) -> bool:
        """Whether it is certain that no Lease of another layout is held; if not, the log says why, now and then."""
        try:
            held = await self.held()
        except (ApiError, Unreachable) as error:
            text = f"the Leases cannot be listed: {error}"
        else:
            if not held:
                return True
            text = f"shards of another number are still led: {', '.join(held)}"
        if text != self._said or self.monotonic() - self._said_at >= SAY_EVERY_SECONDS:
            self._said_at, self._said = self.monotonic(), text
            log.warning("Shard %s does not start yet: %s", self.shard, text)
        return False

    async def held(self) -> list[str]:
        """The Leases of other layouts that somebody holds, with their holders."""
        leases, _ = await self.client.list(LEASES, self.namespace)
        now = self.client.now()
        return [
            f"{lease['metadata']['name']} by {lease['spec']['holderIdentity']}"
            for lease in leases
            if self._is_other(lease["metadata"]["name"]) and self._is_held(lease, now)
        ]

    def _is_other(self, name: str) -> bool:
        found = re.fullmatch(rf"{re.escape(self.base)}(?:-\d+-of-(\d+))?", name)
        return found is not None and int(found[1] or 1) != self.shard.of

    def _is_held(self, lease: dict[str, Any], now: datetime) -> bool:
        """By the rule of those who want a Lease: held until it was seen unchanged for as long as it lasts."""
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return False
        lasts_seconds = float(spec.get("leaseDurationSeconds") or 15)
        renewed = spec.get("renewTime")
        if renewed and (now - datetime.fromisoformat(renewed)).total_seconds() > LONG_DEAD * lasts_seconds:
            return False
        version, since = self._seen.get(metadata["uid"], ("", 0.0))
        if version != metadata["resourceVersion"]:
            since = self.monotonic()
            self._seen[metadata["uid"]] = (metadata["resourceVersion"], since)
        return self.monotonic() - since < lasts_seconds
