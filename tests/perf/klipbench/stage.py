"""One fresh control plane with a fake node for one run, and what its processes have used."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from klipbench import workload
from klipbench.fake_kubelet import FakeKubelet
from klipbench.operator_process import OperatorProcess, Usage, usage
from klipcluster.cluster import Cluster, Running
from klipjudge.audit import requests_of, whole
from klipjudge.history import Request
from klipstream_kube import Client, load_connection

COMPONENTS = ("kube-apiserver", "etcd", "kube-controller-manager")
KUBELET_CONNECTIONS = 400


@dataclass(slots=True)
class Stage:
    """What a run works with."""

    cluster: Cluster
    running: Running
    client: Client
    kubelet: FakeKubelet
    build: Path
    name: str

    def operator(self, number: int = 1, **settings: str) -> OperatorProcess:
        """An operator process, not started yet, with a log of its own."""
        log = self.build / f"{self.name}-operator-{number}.log"
        log.unlink(missing_ok=True)
        return OperatorProcess(self.running.kubeconfig, log, **settings)

    def used(self) -> dict[str, Usage]:
        """CPU time and memory so far: the control plane's processes, and the driver's own with the fake kubelet."""
        pids = {component: self.cluster.pid(component) for component in COMPONENTS}
        return {name: usage(pid) for name, pid in pids.items() if pid is not None} | {"driver": usage(os.getpid())}

    def mark(self) -> int:
        """Where the audit log ends now."""
        assert self.running.audit_log is not None
        return self.running.audit_log.stat().st_size

    async def requests(self, since: int = 0) -> list[Request]:
        """What the API server answered since a mark."""
        return await asyncio.to_thread(self.read, since)

    def read(self, since: int) -> list[Request]:
        """The same, for a short part of the log: it blocks."""
        assert self.running.audit_log is not None
        with self.running.audit_log.open("rb") as lines:
            lines.seek(since)
            return requests_of(map(json.loads, whole(lines)))


@asynccontextmanager
async def staged(name: str, build: Path, *, audit: bool = True) -> AsyncIterator[Stage]:
    """Bring up a control plane with our custom resources and a fake node, and take it down whatever happens.

    The audit log is kept in the build folder.
    """
    build.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(f"bench-{os.getpid()}-{name}"[:32].rstrip("-"))
    try:
        running = await asyncio.to_thread(cluster.up, control_plane_only=True, audit=audit)
        connection = load_connection(str(running.kubeconfig))
        async with (
            Client(connection, user_agent="klipbench") as client,
            Client(connection, user_agent="fake-kubelet", max_connections=KUBELET_CONNECTIONS) as kubelet_client,
        ):
            kubelet = FakeKubelet(kubelet_client, workload.run_of)
            await workload.install_crds(client)
            async with workload.kubelet_running(kubelet):
                yield Stage(cluster, running, client, kubelet, build, name)
    finally:
        log = cluster.folder / "audit.log"
        if log.exists():
            shutil.move(log, build / f"{name}-audit.log")
        await asyncio.to_thread(cluster.down)
