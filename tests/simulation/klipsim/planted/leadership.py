"""Who leads, and what time it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import klipstream_kube.transport
from klipsim.clocks import SimulatedTime
from klipsim.planted.bug import Bug, Swaps, swap
from klipstream_kube import LEASES, Client, LeaseElector, LeaseLost
from klipstream_kube.clock import ServerClock
from klipstream_operator.layouts import Layouts
from klipstream_operator.sharding import Shard


def _no_fence() -> Iterator[Any]:
    patch, create = Client.patch, Client.create

    async def patched(self: Client, resource: Any, *args: Any, before_send: Any = None, **more: Any) -> Any:
        return await patch(self, resource, *args, before_send=before_send if resource == LEASES else None, **more)

    async def created(self: Client, resource: Any, *args: Any, before_send: Any = None, **more: Any) -> Any:
        return await create(self, resource, *args, before_send=before_send if resource == LEASES else None, **more)

    yield swap(Client, "patch", patched)
    yield swap(Client, "create", created)


def _goes_on_without_the_lease() -> Iterator[Any]:
    hold = LeaseElector.hold

    async def held_again(self: LeaseElector) -> None:
        while True:
            with suppress(LeaseLost):
                await hold(self)
            await self.acquire()

    yield from _no_fence()
    yield swap(LeaseElector, "hold", held_again)


def _takes_it_at_once() -> Swaps:
    return [swap(LeaseElector, "_is_free", lambda self, spec: True)]


def _lease_by_wall_clock() -> Swaps:
    def is_free(self: LeaseElector, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        since = SimulatedTime.time() - datetime.fromisoformat(spec["renewTime"]).timestamp()
        return bool(since >= spec["leaseDurationSeconds"])

    return [swap(LeaseElector, "_is_free", is_free)]


def _local_wall_clock() -> Swaps:
    return [swap(ServerClock, "heard", lambda *_: None)]


def _clock_that_is_set() -> Swaps:
    return [swap(klipstream_kube.transport, "steady_clock", lambda wall, monotonic: wall)]


def _other_layouts_are_not_looked_at() -> Swaps:
    async def gone(self: Layouts) -> bool:
        return True

    return [swap(Layouts, "_others_are_gone", gone)]


def _works_for_all_shards() -> Swaps:
    return [swap(Shard, "sees_workload", lambda self, obj: True)]


BUGS = (
    Bug("the Lease is not checked before a write is sent", ("leader",), 28, _no_fence),
    Bug("who lost the Lease goes on while it waits for it", ("leader",), 6, _goes_on_without_the_lease),
    Bug("the Lease is taken before it has run out", ("leader",), 0, _takes_it_at_once),
    Bug("the Lease is judged by the local wall clock", ("leader",), 7, _lease_by_wall_clock),
    Bug("times are those of the local clock, not the server's", ("retry-early", "not-before", "lost-node", "clock"), 5,
        _local_wall_clock),
    Bug("the clock jumps when somebody sets it", ("retry-early", "not-before", "lost-node", "clock"), 7,
        _clock_that_is_set),
    Bug("a new number of shards does not wait for the leaders of the old one", ("led-once",), 7,
        _other_layouts_are_not_looked_at),
    Bug("Jobs and pods of other shards are taken for one's own", ("led-once",), 6,
        _works_for_all_shards),
)  # fmt: skip
