"""The gateway as a process that a test starts, with API keys of its own."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from klipfake.ports import free_port
from klipfake.processes import Process
from klipstream_gateway.keys import new_key
from klipstream_gateway.routes import Scope

READY_SECONDS = 90.0
PLENTY = {f"KLIPSTREAM_RATE_{kind}": "1000000" for kind in ("STATUS", "SUBMIT", "CHANGE", "ADMIN")} | {
    f"KLIPSTREAM_STREAMS_PER_{caller}": "100000" for caller in ("ADDRESS", "KEY")
}
"""For tests that are not about rate limits."""


class Gateway(Process):
    """A replica with a folder of keys; `environment` overrides its settings."""

    def __init__(self, kubeconfig: Path, folder: Path, namespace: str, **environment: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.keys_folder = folder / "keys"
        self.keys_folder.mkdir(parents=True, exist_ok=True)
        self.keys = {
            "submit": self.add_key("submitter", Scope.SUBMIT),
            "read": self.add_key("reader", Scope.READ),
            "admin": self.add_key("administrator", Scope.ADMIN),
            "red": self.add_key("red", Scope.SUBMIT, Scope.READ, tenant="red"),
            "blue": self.add_key("blue", Scope.SUBMIT, Scope.READ, tenant="blue"),
            "expired": self.add_key("late", Scope.ADMIN, expires=datetime.now(UTC) - timedelta(seconds=1)),
        }
        settings = {
            "KLIPSTREAM_NAMESPACE": namespace,
            "KLIPSTREAM_LEASE_NAMESPACE": namespace,
            "KLIPSTREAM_HOST": "127.0.0.1",
            "KLIPSTREAM_PORT": str(self.port),
            "KLIPSTREAM_METRICS_HOST": "127.0.0.1",
            "KLIPSTREAM_METRICS_PORT": str(self.metrics_port),
            "KLIPSTREAM_KEYS_FOLDER": str(self.keys_folder),
        }
        super().__init__(
            "klipstream_gateway", kubeconfig, folder / f"gateway-{self.port}.log", **(settings | PLENTY | environment)
        )

    def add_key(self, name: str, *scopes: Scope, tenant: str | None = None, expires: datetime | None = None) -> str:
        """Put a new key into the folder; the key."""
        key, stored = new_key(name, scopes, tenant, expires, datetime.now(UTC))
        (self.keys_folder / f"{stored.id}.json").write_text(stored.model_dump_json())
        return key

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.running, f"the gateway ended:\n{self.said()}"
            assert time.monotonic() < deadline, f"the gateway does not get ready:\n{self.said()}"
            time.sleep(0.1)

    def answers(self, path: str) -> bool:
        """Whether a request to a path succeeds."""
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def client(self, key: str | None = None) -> httpx.Client:
        """A caller with a key by its name here, or without one."""
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key is not None else {}
        # Without TLS there is nothing to verify, and loading the authorities takes a while.
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=False)

    def audit(self) -> list[dict[str, Any]]:
        """What stands in the audit log."""
        lines = (line.partition("klipstream_gateway.audit: ")[2] for line in self.said().splitlines())
        return [json.loads(line) for line in lines if line]
