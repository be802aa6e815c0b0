"""Several replicas of the operator in one namespace, and what the audit log says of who wrote when."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from klipfake.processes import Operator, Process
from klipfake.world import World
from klipjudge.audit import whole
from klipjudge.history import WRITES, seconds


class Write(NamedTuple):
    """A write that the API server took."""

    sender: str
    """Identity of the replica."""
    resource: str
    name: str
    received: float
    """Seconds since the epoch."""
    answer: dict[str, Any]

    @property
    def version(self) -> int:
        """resourceVersion of the answer; 0 where the log does not hold it."""
        return int(self.answer.get("metadata", {}).get("resourceVersion", 0))


@dataclass
class Replicas:
    """Operators by their identity."""

    world: World
    kubeconfig: Path
    folder: Path
    audit_log: Path
    settings: dict[str, str] = field(default_factory=dict)
    operators: dict[str, Operator] = field(default_factory=dict)

    def start(self, name: str, module: str = "klipstream_operator", **settings: str) -> Operator:
        """Start one and wait until it is ready."""
        operator = self.operators[name] = Operator(
            self.kubeconfig, self.folder / f"{name}.log", self.world.namespace, module,
            **(self.settings | settings | {"KLIPSTREAM_IDENTITY": name}),
        )  # fmt: skip
        operator.start()
        self.world.until(lambda: operator.ready or not operator.running, f"{name} is ready")
        return operator

    def leader(self) -> str | None:
        """Who holds the Lease."""
        return self.world.kubectl("get", "lease", "klipstream-operator", "-o", "jsonpath={.spec.holderIdentity}",
                                  check=False) or None  # fmt: skip

    def leads(self, name: str) -> None:
        """Wait until one leads."""
        self.world.until(lambda: self.leader() == name, f"{name} leads")

    def writes(self) -> list[Write]:
        """What the replicas wrote in the namespace, in the order of the log."""
        found = []
        for line in whole(self.audit_log.read_bytes().splitlines(keepends=True)):
            if self.world.namespace.encode() not in line or b"klipstream-operator (" not in line:
                continue
            event = json.loads(line)
            about, code = event["objectRef"], event["responseStatus"]["code"]
            if event["verb"] in WRITES and code < 300 and about.get("namespace") == self.world.namespace:
                sender = event["userAgent"].split("(")[1].rstrip(")")
                received, answer = seconds(event["requestReceivedTimestamp"]), event.get("responseObject") or {}
                found.append(Write(sender, about["resource"], about.get("name", ""), received, answer))
        return found

    def reservations(self, of: str | None = None) -> list[float]:
        """When slots were reserved (by a replica), in seconds since the epoch."""
        known: dict[str, set[tuple[str, int]]] = {}
        moments = []
        for write in sorted(self.writes(), key=lambda write: write.version):
            if write.resource == "analysisqueues":
                entries = {(e["uid"], e["attempt"]) for e in write.answer.get("status", {}).get("admitted", ())}
                if entries - known.get(write.name, set()) and of in (None, write.sender):
                    moments.append(write.received)
                known[write.name] = entries
        return moments

    def first_write(self, sender: str, resource: str, since: float = 0.0) -> float:
        """When a replica first wrote something of a resource; a Lease is only written by who takes or has it."""
        return min(w.received for w in self.writes() if (w.sender, w.resource) == (sender, resource) and
                   w.received >= since)  # fmt: skip

    def kill(self) -> None:
        """End all."""
        for operator in self.operators.values():
            operator.kill()


@contextmanager
def without_operator(kubectl: Callable[..., Any], namespace: str, control_plane: Any, folder: Path) -> Iterator[World]:
    """A namespace with a fake kubelet, and no operator yet."""
    if control_plane.audit_log is None:
        pytest.skip("who wrote when is read from the audit log, which this cluster does not have")
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, folder / "kubelet.log")
    kubelet.start()
    try:
        yield World(kubectl, namespace, Operator(control_plane.kubeconfig, folder / "unused.log", namespace))
    finally:
        kubelet.kill()


@contextmanager
def replicas(world: World, control_plane: Any, folder: Path, **settings: str) -> Iterator[Replicas]:
    """Replicas that end with the block."""
    found = Replicas(world, control_plane.kubeconfig, folder, control_plane.audit_log, settings)
    try:
        yield found
    finally:
        found.kill()


def gap(moments: list[float], since: float) -> float:
    """Seconds from a moment to the first that follows; none followed: until now."""
    return min((moment for moment in moments if moment > since), default=time.time()) - since
