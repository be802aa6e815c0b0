"""A namespace with a real operator, a fake kubelet and a gateway, for all tests of a module."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipfake.processes import Operator, Process
from klipfake.world import World, playing
from klipgate.process import Gateway
from klipstream_sealing import KeyRing


@dataclass(frozen=True)
class Stack:
    """What the tests of a module share."""

    world: World
    gateway: Gateway
    ring: KeyRing
    anyone: httpx.Client
    submitter: httpx.Client
    reader: httpx.Client
    admin: httpx.Client

    def submit(self, **body: Any) -> str:
        """A job's id."""
        answer = self.submitter.post("/api/v1/analysis", json={"video_url": "https://example.com/v.mp4"} | body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        answer = self.anyone.get(f"/api/v1/jobs/{job_id}/status")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, job_id: str, *states: str) -> dict[str, Any]:
        self.world.until(lambda: self.status(job_id)["status"] in states, f"{job_id} in {states}")
        return self.status(job_id)


@pytest.fixture(scope="module")
def home(kubectl) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def stack(control_plane, custom_resources, kubectl, home: str, tmp_path_factory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    ring = KeyRing.new(datetime.now(UTC))
    operator = Operator(control_plane.kubeconfig, folder / "operator.log", home)
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, folder / "kubelet.log")
    gateway = Gateway(control_plane.kubeconfig, folder, home, KLIPSTREAM_SEALING_KEY=str(ring.public))
    with playing(kubectl, home, operator, kubelet) as world:
        world.queue("default", maxConcurrentJobs=2)
        world.queue("paused", mode="Paused")
        gateway.start()
        try:
            gateway.wait()
            clients = {name: gateway.client(name) for name in ("submit", "read", "admin")}
            yield Stack(world, gateway, ring, gateway.client(), clients["submit"], clients["read"], clients["admin"])
        finally:
            gateway.kill()
