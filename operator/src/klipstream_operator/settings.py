"""Settings of the operator, from the environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from klipstream_operator.sharding import Shard
from klipstream_service import BadSetting, Environment
from klipstream_service.tracing import TracingSettings

SHARDS_AT_MOST = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """How this replica runs. Seconds and ports are plain numbers; namespaces are empty to watch all.

    `lease_name` is the Lease of the only shard; those of several have names of their own that begin with it.
    `shard_url` is a shard's progress endpoint, with {shard} for its number; `progress_url` is that of all together.

    `linger_seconds` is how long a replica that was told to end still takes progress, until workers are sent elsewhere.
    `results_claim` is the claim that is mounted here, as "namespace/name"; its path is that of the queues' URL.
    `sealing_ring` is the file with the private keys, which may come and change while this replica runs.
    """

    identity: str
    shard: Shard
    shard_url: str
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
    tracing: TracingSettings | None
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read KLIPSTREAM_* variables. Raises BadSetting."""
        env = Environment(environment)
        port = env.whole("PROGRESS_PORT", 8080, 0, 65535)
        shards = env.whole("SHARDS", 1, 1, SHARDS_AT_MOST)
        settings = cls(
            identity=env.text("IDENTITY") or f"{socket.gethostname()}-{os.getpid()}",
            shard=Shard(env.whole("SHARD", 0, 0, shards - 1), shards),
            shard_url=env.text("SHARD_URL"),
            namespaces=tuple(sorted(env.words("NAMESPACES"))),
            lease_name=env.text("LEASE_NAME", "klipstream-operator"),
            lease_namespace=env.text("LEASE_NAMESPACE", "default"),
            lease_seconds=env.number("LEASE_SECONDS", 15, 2, 600),
            sweep_seconds=env.number("SWEEP_SECONDS", 120, 1, 86_400),
            linger_seconds=env.number("LINGER_SECONDS", 0, 0, 60),
            progress_url=env.text("PROGRESS_URL", f"http://127.0.0.1:{port}/v1/progress"),
            progress_host=env.text("PROGRESS_HOST", "0.0.0.0"),  # noqa: S104 - workers post from other nodes
            progress_port=port,
            liveness_host=env.text("LIVENESS_HOST", "0.0.0.0"),  # noqa: S104 - the kubelet asks from outside of the pod
            liveness_port=env.whole("LIVENESS_PORT", 8081, 0, 65535),
            metrics_host=env.text("METRICS_HOST", "0.0.0.0"),  # noqa: S104 - Prometheus scrapes from other nodes
            metrics_port=env.whole("METRICS_PORT", 8082, 0, 65535),
            events=env.switch("EVENTS", True),
            tls_certificate=env.file("TLS_CERTIFICATE"),
            tls_key=env.file("TLS_KEY"),
            tls_ca=env.file("TLS_CA"),
            archive_logs=env.switch("ARCHIVE_LOGS", True),
            results_claim=env.text("RESULTS_CLAIM") or None,
            sealing_ring=env.path("SEALING_RING"),
            tracing=TracingSettings.from_environment(env),
            log_format=env.log_format(),
            log_level=env.log_level(),
        )
        if (settings.tls_certificate is None) != (settings.tls_key is None):
            raise BadSetting("KLIPSTREAM_TLS_CERTIFICATE and KLIPSTREAM_TLS_KEY go together: set both or neither")
        if shards > 1 and "{shard}" not in settings.shard_url:
            raise BadSetting(
                "KLIPSTREAM_SHARD_URL is needed where there are several shards: the address of a shard's progress"
                " endpoint, with {shard} in place of its number"
            )
        return settings
