"""Waiting until nobody leads a shard of another layout: a change of their number must not give a queue two leaders."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from klipstream_kube import LEASES, ApiError, Client, Unreachable
from klipstream_operator.sharding import Shard

log = logging.getLogger(__name__)
LOOK_EVERY_SECONDS = 0.5
SAY_EVERY_SECONDS = 30.0
LONG_DEAD = 10
"""A Lease that was not renewed for so many times its duration is nobody's, also to who sees it for the first time."""


@dataclass(slots=True)
class Layouts:
    """The Leases of the same operator's shards, were there as many as now or not.

    Whoever leads a shard has taken its Lease first and looks at those of other layouts afterwards. Of two leaders of
    different layouts the later one sees the other's Lease, whatever the order of their requests.
    """

    client: Client
    namespace: str
    base: str
    """Name of the Lease where there is one shard only."""
    shard: Shard
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The version of each Lease, and when it was first seen."""

    async def others_are_gone(self) -> None:
        """Return once no Lease of another layout is held; the caller holds its own and renews it meanwhile."""
        said_at, said = float("-inf"), ""
        while True:
            try:
                held = await self.held()
            except (ApiError, Unreachable) as error:
                text = f"the Leases cannot be listed: {error}"
            else:
                if not held:
                    return
                text = f"shards of another number are still led: {', '.join(held)}"
            if text != said or self.monotonic() - said_at >= SAY_EVERY_SECONDS:
                said_at, said = self.monotonic(), text
                log.warning("Shard %s does not start yet: %s", self.shard, text)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

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
