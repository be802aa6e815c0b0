"""A namespace with a real operator, a fake kubelet and a gateway."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

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


@contextmanager
def stacked(
    kubectl: Callable[..., Any], kubeconfig: Path, home: str, folder: Path, node: bool = False
) -> Iterator[Stack]:
    """The stack in a namespace that exists; two queues, of which one is paused. With `node` pods are on one that serves
    their logs, and those of failed attempts are archived in a folder."""
    ring = KeyRing.new(datetime.now(UTC))
    (folder / "ring.json").write_text(ring.to_json())
    operator = Operator(
        kubeconfig, folder / "operator.log", home, KLIPSTREAM_SEALING_RING=str(folder / "ring.json"),
        KLIPSTREAM_LEASE_SECONDS="15",  # as in production: a machine with much else to do does not stop it
    )  # fmt: skip
    kubelet = Process("klipfake.kubelet", kubeconfig, folder / "kubelet.log", *(["--node"] if node else []))
    results = folder / "results"
    results.mkdir(exist_ok=True)
    # Callers may say whose requests they pass on, so that wrong credentials of one test shut no other one out.
    proxies = "127.0.0.1/32"
    gateway = Gateway(
        kubeconfig, folder, home, KLIPSTREAM_SEALING_KEY=str(ring.public), KLIPSTREAM_TRUSTED_PROXIES=proxies
    )
    with playing(kubectl, home, operator, kubelet) as world:
        world.queue("default", maxConcurrentJobs=2, **({"results": {"url": results.as_uri()}} if node else {}))
        world.queue("paused", mode="Paused")
        gateway.start()
        try:
            gateway.wait()
            clients = {name: gateway.client(name) for name in ("submit", "read", "admin")}
            yield Stack(world, gateway, ring, gateway.client(), clients["submit"], clients["read"], clients["admin"])
        finally:
            gateway.kill()
