"""Settings of the relay, from the environment."""

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from klipstream_netguard import BadRule, PlainHttp, Rules
from klipstream_relay.attempts import RetryPolicy
from klipstream_relay.breaker import BreakerPolicy
from klipstream_relay.limits import Limits


class BadSetting(ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this relay runs. Seconds and ports are plain numbers; namespaces are empty to watch all.

    `sealing_ring` is the file with the private keys, which may come and change while the relay runs.
    `relist_seconds` is how often all jobs are listed, for what a watch may have swallowed.
    """

    identity: str
    namespaces: tuple[str, ...]
    lease_name: str
    lease_namespace: str
    lease_seconds: float
    ledger: Path
    http_host: str
    http_port: int
    progress_seconds: float
    relist_seconds: float
    timeout_seconds: float
    retries: RetryPolicy
    breakers: BreakerPolicy
    limits: Limits
    rules: Rules
    ca_file: Path | None
    sealing_ring: Path | None
    nameservers: tuple[str, ...]
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read KLIPSTREAM_* variables. Raises BadSetting."""

        def text(name: str, default: str = "") -> str:
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

        def whole(name: str, default: int, low: int, high: int) -> int:
            value = number(name, default, low, high)
            if value != int(value):
                raise BadSetting(f"KLIPSTREAM_{name}={value!r}: use a whole number")
            return int(value)

        def words(name: str) -> tuple[str, ...]:
            return tuple(filter(None, (part.strip() for part in text(name).split(","))))

        def choice(name: str, default: str, *choices: str) -> str:
            value = text(name, default)
            if value not in choices:
                raise BadSetting(f"KLIPSTREAM_{name}={value!r}: use {' or '.join(choices)}")
            return value

        try:
            rules = Rules.of(
                cluster_networks=words("CLUSTER_NETWORKS"),
                allowed_networks=words("ALLOWED_NETWORKS"),
                allowed_hosts=words("ALLOWED_HOSTS"),
                plain_http=PlainHttp.LISTED,
            )
        except BadRule as error:
            raise BadSetting(f"KLIPSTREAM_ALLOWED_HOSTS, _ALLOWED_NETWORKS or _CLUSTER_NETWORKS: {error}") from None
        ca_file = Path(text("CA_FILE")) if text("CA_FILE") else None
        if ca_file is not None and not ca_file.is_file():
            raise BadSetting(f"KLIPSTREAM_CA_FILE={str(ca_file)!r}: there is no such file")
        return cls(
            identity=text("IDENTITY") or f"{socket.gethostname()}-{os.getpid()}",
            namespaces=tuple(sorted(words("NAMESPACES"))),
            lease_name=text("LEASE_NAME", "klipstream-relay"),
            lease_namespace=text("LEASE_NAMESPACE", "default"),
            lease_seconds=number("LEASE_SECONDS", 15, 2, 600),
            ledger=Path(text("LEDGER", "/var/lib/klipstream/ledger.db")),
            http_host=text("HTTP_HOST", "0.0.0.0"),  # noqa: S104 - the kubelet and Prometheus ask from outside
            http_port=whole("HTTP_PORT", 8083, 0, 65535),
            progress_seconds=number("PROGRESS_SECONDS", 30, 1, 86_400),
            relist_seconds=number("RELIST_SECONDS", 600, 1, 86_400),
            timeout_seconds=number("TIMEOUT_SECONDS", 10, 0.1, 60),
            retries=RetryPolicy(
                attempts=whole("ATTEMPTS", 3, 1, 100),
                first_delay_seconds=number("RETRY_SECONDS", 10, 0.01, 3600),
                give_up_seconds=number("GIVE_UP_SECONDS", 86_400, 1, 604_800),
            ),
            breakers=BreakerPolicy(
                threshold=whole("CIRCUIT_FAILURES", 5, 1, 1000),
                first_open_seconds=number("CIRCUIT_SECONDS", 10, 0.01, 3600),
                longest_open_seconds=number("CIRCUIT_AT_MOST_SECONDS", 300, 0.01, 86_400),
            ),
            limits=Limits(
                per_endpoint=whole("PER_ENDPOINT", 4, 1, 256),
                together=whole("TOGETHER", 256, 2, 10_000),
                keep_seconds=number("KEEP_SECONDS", 604_800, 60, 31_536_000),
            ),
            rules=rules,
            ca_file=ca_file,
            sealing_ring=Path(text("SEALING_RING")) if text("SEALING_RING") else None,
            nameservers=words("NAMESERVERS"),
            log_format=choice("LOG_FORMAT", "plain", "plain", "json"),
            log_level=choice("LOG_LEVEL", "INFO", "DEBUG", "INFO", "WARNING", "ERROR"),
        )

    def tls(self) -> ssl.SSLContext | None:
        """For receivers with an authority of their own, beside the machine's; None where there is none."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context()
        context.load_verify_locations(self.ca_file)
        return context
