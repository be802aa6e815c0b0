"""Settings of the gateway, from the environment."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from klipstream_gateway.addresses import Network
from klipstream_gateway.routes import RateClass
from klipstream_sealing import PublicKey
from klipstream_service import BadSetting, Environment
from klipstream_service.tracing import TracingSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """How this replica runs. `rates` are requests per minute, for each key or address.

    `namespace` is where its jobs and queues are. `results_claim` is the claim that is mounted here, as
    "namespace/name"; its path is that of the queues' results URL. `trusted_proxies` are those whose
    X-Forwarded-For is believed. `rate_storage_ca` are PEM certificates
    of the authority that signed the Redis' own.
    """

    namespace: str
    host: str
    port: int
    metrics_host: str
    metrics_port: int
    keys_folder: Path | None
    kubernetes_tokens: bool
    token_audience: str | None
    anonymous_submit: bool
    sealing_key: PublicKey | None
    rates: Mapping[RateClass, int]
    rate_storage: str
    rate_storage_ca: str | None
    trusted_proxies: tuple[Network, ...]
    allowed_origins: tuple[str, ...]
    allowed_callbacks: tuple[str, ...]
    body_bytes: int
    batch_bytes: int
    request_seconds: float
    streams_at_most: int
    streams_per_address: int
    streams_per_key: int
    results_claim: str | None
    lease_names: tuple[str, ...]
    lease_namespace: str
    tracing: TracingSettings | None
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, namespace: str, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read KLIPSTREAM_* variables; `namespace` is the one to use where none is set. Raises BadSetting."""
        env = Environment(environment)

        def rate(kind: RateClass, default: int) -> int:
            return env.whole(f"RATE_{kind.name}", default, 1, 1_000_000)

        home = env.text("NAMESPACE", namespace)
        storage = _rate_storage(env.text("RATE_STORAGE", "memory"))
        return cls(
            namespace=home,
            host=env.text("HOST", "0.0.0.0"),  # noqa: S104 - the Service sends requests from other nodes
            port=env.whole("PORT", 8080, 0, 65535),
            metrics_host=env.text("METRICS_HOST", "0.0.0.0"),  # noqa: S104 - Prometheus scrapes from other nodes
            metrics_port=env.whole("METRICS_PORT", 8082, 0, 65535),
            keys_folder=env.folder("KEYS_FOLDER"),
            kubernetes_tokens=env.switch("KUBERNETES_TOKENS", True),
            token_audience=env.text("TOKEN_AUDIENCE") or None,
            anonymous_submit=env.switch("ANONYMOUS_SUBMIT", False),
            sealing_key=_public_key(env.text("SEALING_KEY")),
            rates={
                RateClass.STATUS: rate(RateClass.STATUS, 100),
                RateClass.SUBMIT: rate(RateClass.SUBMIT, 10),
                RateClass.CHANGE: rate(RateClass.CHANGE, 60),
                RateClass.ADMIN: rate(RateClass.ADMIN, 5),
            },
            rate_storage=storage,
            rate_storage_ca=_authority(env.text("RATE_STORAGE_CA"), storage),
            trusted_proxies=_networks("TRUSTED_PROXIES", env.words("TRUSTED_PROXIES")),
            allowed_origins=env.words("ALLOWED_ORIGINS"),
            allowed_callbacks=env.words("ALLOWED_CALLBACKS"),
            body_bytes=env.whole("BODY_BYTES", 65_536, 1024, 4_194_304),
            batch_bytes=env.whole("BATCH_BYTES", 4_194_304, 1024, 16_777_216),
            request_seconds=env.number("REQUEST_SECONDS", 30, 1, 300),
            streams_at_most=env.whole("STREAMS_AT_MOST", 2000, 1, 100_000),
            streams_per_address=env.whole("STREAMS_PER_ADDRESS", 20, 1, 100_000),
            streams_per_key=env.whole("STREAMS_PER_KEY", 200, 1, 100_000),
            results_claim=env.text("RESULTS_CLAIM") or None,
            lease_names=env.words("LEASE_NAME") or ("klipstream-operator",),
            lease_namespace=env.text("LEASE_NAMESPACE", home),
            tracing=TracingSettings.from_environment(env),
            log_format=env.log_format(),
            log_level=env.log_level(),
        )


def _rate_storage(value: str) -> str:
    """memory, or the URL of a Redis. It may hold a password, so it is not repeated."""
    if value == "memory":
        return value
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise BadSetting(
            "KLIPSTREAM_RATE_STORAGE: use memory, or a URL such as redis://:PASSWORD@HOST:6379/0 (rediss: TLS)"
        )
    return value


def _authority(value: str, storage: str) -> str | None:
    """Certificates as PEM: the value itself, or what a file of that name holds."""
    if not value:
        return None
    if not storage.startswith("rediss:"):
        raise BadSetting("KLIPSTREAM_RATE_STORAGE_CA: it is for TLS: give KLIPSTREAM_RATE_STORAGE a URL with rediss:")
    try:
        text = value if value.startswith("-----BEGIN") else Path(value).read_text()
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"KLIPSTREAM_RATE_STORAGE_CA: give certificates (PEM), or a file that holds them: {error}"
        ) from error
    return text


def _public_key(value: str) -> PublicKey | None:
    """The key itself, or what a file of that name holds."""
    if not value:
        return None
    try:
        return PublicKey.parse(value if value.startswith("klipstream-") else Path(value).read_text())
    except (OSError, ValueError) as error:
        raise BadSetting(f"KLIPSTREAM_SEALING_KEY: give a public key or a file that holds one: {error}") from error


def _networks(name: str, values: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(value) for value in values)
    except ValueError as error:
        raise BadSetting(f"KLIPSTREAM_{name}: use addresses and networks such as 10.0.0.0/8: {error}") from error
