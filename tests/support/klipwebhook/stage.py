"""A relay and receivers as processes, as a test sees them."""

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from klipfake.ports import free_port
from klipfake.processes import Process
from klipstream_kube import Client
from klipwebhook.statuses import PlayedJob

DEADLINE_SECONDS = 120.0


class Received(NamedTuple):
    """A request that a receiver answered."""

    port: int
    id: str
    came: float
    code: int
    body: dict[str, Any]
    headers: dict[str, str]
    raw: str

    @property
    def type(self) -> str:
        return str(self.body["type"])


class Receivers:
    """Receivers by the name that a test gives them; those that are "dead" have a port on which nobody listens."""

    def __init__(self, folder: Path, certificate: Path | None = None, **behaviours: str) -> None:
        self.ports = {name: free_port() for name in behaviours}
        self._set_up(folder, certificate, behaviours)

    @classmethod
    def on_ports(cls, folder: Path, others: "Receivers", names: list[str]) -> "Receivers":
        """Where nobody listened before: somebody who takes everything."""
        receivers = cls.__new__(cls)
        receivers.ports = {name: others.ports[name] for name in names}
        receivers._set_up(folder, others.certificate, dict.fromkeys(names, "ok"))
        receivers.listen()
        return receivers

    def _set_up(self, folder: Path, certificate: Path | None, behaviours: dict[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self.certificate = certificate
        self._scheme = "https" if certificate is not None else "http"
        self._file = folder / "received.jsonl"
        self._read: tuple[int, list[Received]] = (0, [])
        self._listening = [self.ports[name] for name, behaviour in behaviours.items() if behaviour != "dead"]
        listening = [f"{self.ports[n]}={b}" for n, b in behaviours.items() if b != "dead"]
        more = ["--certificate", str(certificate)] if certificate is not None else []
        self.process = Process(
            "klipwebhook.receivers", folder / "none", folder / "receivers.log", str(self._file), *listening, *more
        )

    def url(self, name: str, path: str = "hook") -> str:
        return f"{self._scheme}://127.0.0.1:{self.ports[name]}/{path}"

    def behave(self, name: str, behaviour: str) -> None:
        """Change what a receiver does."""
        request = urllib.request.Request(self.url(name, "behave"), data=behaviour.encode(), method="POST")
        urllib.request.urlopen(request, timeout=5).close()

    def received(self, name: str | None = None) -> list[Received]:
        """What came, in order; to one of them."""
        if not self._file.exists():
            return []
        offset, known = self._read
        with self._file.open("rb") as file:
            file.seek(offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.splitlines():
            read = json.loads(line)
            known.append(Received(*(read[field] for field in Received._fields)))
        self._read = offset + len(whole), known
        return [each for each in known if name is None or each.port == self.ports[name]]

    def types(self, name: str) -> list[str]:
        """Types of what was taken, in order."""
        return [each.type for each in self.received(name) if each.code < 300]

    def listen(self) -> None:
        """Start to."""
        self.process.start()
        deadline = time.monotonic() + DEADLINE_SECONDS
        for port in self._listening:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert self.process.running, self.process.said()
                assert time.monotonic() < deadline, f"nobody listens on {port}"
                time.sleep(0.05)


class Relay(Process):
    """The relay with short waits, and a ledger of its own."""

    def __init__(self, kubeconfig: Path, folder: Path, namespace: str, **environment: str) -> None:
        self.ledger = folder / "ledger.db"
        self.http_port = free_port()
        self.environment = {
            "KLIPSTREAM_NAMESPACES": namespace,
            "KLIPSTREAM_LEASE_NAMESPACE": namespace,
            "KLIPSTREAM_LEASE_SECONDS": "15",
            "KLIPSTREAM_IDENTITY": f"relay-{self.http_port}",
            "KLIPSTREAM_LEDGER": str(self.ledger),
            "KLIPSTREAM_HTTP_HOST": "127.0.0.1",
            "KLIPSTREAM_HTTP_PORT": str(self.http_port),
            "KLIPSTREAM_ALLOWED_NETWORKS": "127.0.0.0/8",
            "KLIPSTREAM_RETRY_SECONDS": "0.2",
            "KLIPSTREAM_CIRCUIT_SECONDS": "0.5",
            "KLIPSTREAM_CIRCUIT_AT_MOST_SECONDS": "2",
        } | environment
        self._kubeconfig = kubeconfig
        super().__init__("klipstream_relay", kubeconfig, folder / "relay.log", **self.environment)

    @property
    def ready(self) -> bool:
        return self.answer("/readyz") is not None

    def answer(self, path: str) -> str | None:
        """What GET says, None where that is no success."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=20) as found:
                return str(found.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands beside it."""
        environment = os.environ | {"KUBECONFIG": str(self._kubeconfig)} | self.environment
        command = [sys.executable, "-m", "klipstream_relay", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def deliveries(self, *arguments: str) -> list[dict[str, Any]]:
        """What `list` says, the latest first."""
        done = self.command("list", "--json", "--limit", "1000000", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


class Stage:
    """A namespace with a relay."""

    def __init__(self, client: Client, namespace: str, relay: Relay, receivers: Receivers) -> None:
        self.client, self.namespace, self.relay, self.receivers = client, namespace, relay, receivers

    def job(self, name: str, queue: str = "default") -> PlayedJob:
        return PlayedJob(self.client, self.namespace, name, queue)

    async def until(self, condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait for it."""
        deadline = time.monotonic() + seconds
        while not condition():
            said = self.relay.said()[-3000:]
            assert time.monotonic() < deadline, f"never: {what}\n{said}"
            await asyncio.sleep(0.05)

    def endpoint(self, name: str, *events: str) -> dict[str, Any]:
        """A receiver as the endpoint of a queue."""
        return {"name": name, "url": self.receivers.url(name)} | ({"events": list(events)} if events else {})

    async def announced(self, job: PlayedJob) -> dict[str, Any]:
        """Wait until the end of the job, as it is now, is acknowledged; its status then."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            status = await job.status()
            if status.get("finishedAt", "~") <= status.get("announcedAt", ""):
                return status
            assert time.monotonic() < deadline, f"never announced: {status}\n{self.relay.said()[-3000:]}"
            await asyncio.sleep(0.1)

    async def settled(self) -> None:
        """Wait until the relay has written down what became of all that it has sent."""
        await self.until(lambda: not self.relay.deliveries("--state", "pending"), "nothing is pending")

    def is_current(self) -> bool:
        """Whether the relay has seen everything once, and written that down."""
        with contextlib.closing(sqlite3.connect(self.relay.ledger)) as ledger:
            return ledger.execute("SELECT 1 FROM meta WHERE name = 'current'").fetchone() is not None

    async def start_relay(self) -> None:
        """Start it and wait until it announces."""
        self.relay.start()
        await self.until(lambda: self.relay.ready or not self.relay.running, "the relay is ready")
        assert self.relay.running, self.relay.said()[-3000:]
