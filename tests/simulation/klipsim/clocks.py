"""The time module as simulated processes see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import klipstream_kube.clock
import klipstream_kube.config
import klipstream_kube.lease
import klipstream_kube.reflector
import klipstream_kube.transport
import klipstream_operator.event_recorder
import klipstream_operator.identity
import klipstream_operator.observability
import klipstream_operator.queue_collector
from klipsim.exchange import exchanged
from klipsim.loop import PROCESS

EPOCH = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""Wall time at which every run begins; the API server's clock is true, others are off by their skew."""
_READERS = (
    klipstream_kube.clock,
    klipstream_kube.config,
    klipstream_kube.lease,
    klipstream_kube.reflector,
    klipstream_kube.transport,
    klipstream_operator.event_recorder,
    klipstream_operator.identity,
    klipstream_operator.observability,
    klipstream_operator.queue_collector,
)


class SimulatedTime:
    """Stands for the module `time`."""

    perf_counter = staticmethod(time.perf_counter)

    @staticmethod
    def monotonic() -> float:
        """The loop's clock: frozen processes find that it went on."""
        return asyncio.get_running_loop().now  # type: ignore[attr-defined, no-any-return]

    @staticmethod
    def time() -> float:
        """The wall clock of the process that asks."""
        process = PROCESS.get()
        return EPOCH + asyncio.get_running_loop().time() + (process.skew_seconds if process is not None else 0.0)

    @classmethod
    def time_ns(cls) -> int:
        """The same in nanoseconds."""
        return int(cls.time() * 1e9)


@contextmanager
def simulated_clocks() -> Iterator[None]:
    """Everything that the operator reads the time from is simulated within."""
    with exchanged(*((module, "time", SimulatedTime) for module in _READERS)):
        yield
