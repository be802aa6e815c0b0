"""Settings of the operator, from the environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class BadSetting(ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this replica runs. Seconds and ports are plain numbers; namespaces are empty to watch all.

    `linger_seconds` is how long a replica that was told to end still takes progress, until workers are sent elsewhere.
    `results_claim` is the claim that is mounted here, as "namespace/name"; its path is that of the queues' URL.
    `sealing_ring` is the file with the private keys, which may come and change while this replica runs.
    """

    identity: str
    namespaces: tuple[str, ...]
    lease_name: str
    lease_namespace: str
    lease_seconds: float
    sweep_seconds: float
    linger_seconds: float
    progress_url: str
    progress_host: str
    progress_port: int
    liveness_host: str
    liveness_port: int
    metrics_host: str
    metrics_port: int
    events: bool
    tls_certificate: Path | None
    tls_key: Path | None
    tls_ca: Path | None
    archive_logs: bool
    results_claim: str | None
    sealing_ring: Path | None
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read KLIPSTREAM_* variables. Raises BadSetting."""

        def text(name: str, default: str) -> str:
            return environment.get(f"KLIPSTREAM_{name}", default).strip()

        def number(name: str, default: float, low: float, high: float) -> float:
            value = text(name, str(default))
            try:
                parsed = float(value)
            except ValueError:
                parsed = float("nan")
            if not low <= parsed <= high:
                raise BadSetting(f"KLIPSTREAM_{name}={value!r}: use a number from {low:g} to {high:g}")
            return parsed

        def switch(name: str, default: str) -> bool:
            value = text(name, default).lower()
            if value not in ("on", "off"):
                raise BadSetting(f"KLIPSTREAM_{name}={value!r}: use on or off")
            return value == "on"

        def path(name: str) -> Path | None:
            value = text(name, "")
            if value and not Path(value).is_file():
                raise BadSetting(f"KLIPSTREAM_{name}={value!r}: there is no such file")
            return Path(value) if value else None

        def boolean(name: str, default: str) -> bool:
            value = text(name, default).lower()
            if value not in ("true", "false"):
                raise BadSetting(f"KLIPSTREAM_{name}={value!r}: use true or false")
            return value == "true"

        port = int(number("PROGRESS_PORT", 8080, 0, 65535))
        settings = cls(
            identity=text("IDENTITY", "") or f"{socket.gethostname()}-{os.getpid()}",
            namespaces=tuple(sorted(filter(None, (part.strip() for part in text("NAMESPACES", "").split(","))))),
            lease_name=text("LEASE_NAME", "klipstream-operator"),
            lease_namespace=text("LEASE_NAMESPACE", "default"),
            lease_seconds=number("LEASE_SECONDS", 15, 2, 600),
            sweep_seconds=number("SWEEP_SECONDS", 120, 1, 86_400),
            linger_seconds=number("LINGER_SECONDS", 0, 0, 60),
            progress_url=text("PROGRESS_URL", f"http://127.0.0.1:{port}/v1/progress"),
            progress_host=text("PROGRESS_HOST", "0.0.0.0"),  # noqa: S104 - workers post from other nodes
            progress_port=port,
            liveness_host=text("LIVENESS_HOST", "0.0.0.0"),  # noqa: S104 - the kubelet asks from outside of the pod
            liveness_port=int(number("LIVENESS_PORT", 8081, 0, 65535)),
            metrics_host=text("METRICS_HOST", "0.0.0.0"),  # noqa: S104 - Prometheus scrapes from other nodes
            metrics_port=int(number("METRICS_PORT", 8082, 0, 65535)),
            events=switch("EVENTS", "on"),
            tls_certificate=path("TLS_CERTIFICATE"),
            tls_key=path("TLS_KEY"),
            tls_ca=path("TLS_CA"),
            archive_logs=boolean("ARCHIVE_LOGS", "true"),
            results_claim=text("RESULTS_CLAIM", "") or None,
            sealing_ring=Path(ring) if (ring := text("SEALING_RING", "")) else None,
            log_format=text("LOG_FORMAT", "plain"),
            log_level=text("LOG_LEVEL", "INFO").upper(),
        )
        if (settings.tls_certificate is None) != (settings.tls_key is None):
            raise BadSetting("KLIPSTREAM_TLS_CERTIFICATE and KLIPSTREAM_TLS_KEY go together: set both or neither")
        if settings.log_format not in ("plain", "json"):
            raise BadSetting(f"KLIPSTREAM_LOG_FORMAT={settings.log_format!r}: use plain or json")
        return settings
