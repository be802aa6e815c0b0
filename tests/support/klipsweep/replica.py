"""One replica of the operator behind a fault proxy of its own, restarted when it ends as its Deployment would."""

import asyncio
import signal
from pathlib import Path

from klipfake.ports import free_port
from klipfault.proxy import FaultProxy
from klipsweep.nursery import Child, Nursery

LEASE_SECONDS = 10
"""Of the shortest that the operator takes, 2 s, a busy machine lets too many run out."""
SWEEP_SECONDS = 10
"""Rarely: what a crash left is taken up at the start, and not found by chance."""
RESTARTS_AT_MOST = 20


class Replica:
    """A process at a time; a killed one is started again by `start`, one that ended by itself at once."""

    def __init__(
        self,
        name: str,
        nursery: Nursery,
        proxy: FaultProxy,
        namespace: str,
        folder: Path,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.name = name
        self.proxy = proxy
        self.ended_by_itself = 0
        self.progress_port = free_port()
        self.metrics_port = free_port()
        self._nursery = nursery
        self._log = folder / f"{name}.log"
        self._starts = 0
        self._child: Child | None = None
        self._watching: asyncio.Task[None] | None = None
        self._environment = {
            "KUBECONFIG": str(proxy.write_kubeconfig(folder / f"{name}.kubeconfig")),
            "KLIPSTREAM_NAMESPACES": namespace,
            "KLIPSTREAM_LEASE_NAMESPACE": namespace,
            "KLIPSTREAM_LEASE_SECONDS": str(LEASE_SECONDS),
            "KLIPSTREAM_SWEEP_SECONDS": str(sweep_seconds),
            "KLIPSTREAM_EVENTS": "off",
            "KLIPSTREAM_PROGRESS_HOST": "127.0.0.1",
            "KLIPSTREAM_PROGRESS_PORT": str(self.progress_port),
            "KLIPSTREAM_LIVENESS_PORT": str(free_port()),
            "KLIPSTREAM_METRICS_HOST": "127.0.0.1",
            "KLIPSTREAM_METRICS_PORT": str(self.metrics_port),
        }

    @property
    def identity(self) -> str:
        """What the Lease says while this process holds it; another one after each start."""
        return f"{self.name}-{self._starts}"

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return None if self._child is None or self._child.ended.done() else self._child.pid

    async def start(self) -> None:
        """Start it."""
        self._starts += 1
        environment = self._environment | {"KLIPSTREAM_IDENTITY": self.identity}
        self._child = await self._nursery.start(environment, self._log)
        self._watching = asyncio.create_task(self._watch(self._child))

    async def kill(self) -> None:
        """kill -9; returns when it is dead."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it in its tracks until `thaw`."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def explain(self) -> None:
        """Have it print where each of its tasks stands."""
        self._send(signal.SIGUSR1)

    def said(self) -> str:
        """Everything that it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send(number)

    async def _end(self, number: signal.Signals) -> int:
        if self._watching is not None:
            self._watching.cancel()
        if self._child is None:
            return 0
        self._child.send(number)
        return await self._child.ended

    async def _watch(self, child: Child) -> None:
        code = await asyncio.shield(child.ended)
        self.ended_by_itself += 1
        if self.ended_by_itself > RESTARTS_AT_MOST:
            raise RuntimeError(f"{self.name} ended again and again, at last with {code}:\n{self.said()[-3000:]}")
        await self.start()
