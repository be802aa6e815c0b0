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
from klipstream_service import BadSetting, Environment
from klipstream_service.tracing import TracingSettings


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
    tracing: TracingSettings | None
    log_format: str
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read KLIPSTREAM_* variables. Raises BadSetting."""
        env = Environment(environment)
        try:
            rules = Rules.of(
                cluster_networks=env.words("CLUSTER_NETWORKS"),
                allowed_networks=env.words("ALLOWED_NETWORKS"),
                allowed_hosts=env.words("ALLOWED_HOSTS"),
                plain_http=PlainHttp.LISTED,
            )
        except BadRule as error:
            raise BadSetting(f"KLIPSTREAM_ALLOWED_HOSTS, _ALLOWED_NETWORKS or _CLUSTER_NETWORKS: {error}") from None
        return cls(
            identity=env.text("IDENTITY") or f"{socket.gethostname()}-{os.getpid()}",
            namespaces=tuple(sorted(env.words("NAMESPACES"))),
            lease_name=env.text("LEASE_NAME", "klipstream-relay"),
            lease_namespace=env.text("LEASE_NAMESPACE", "default"),
            lease_seconds=env.number("LEASE_SECONDS", 15, 2, 600),
            ledger=Path(env.text("LEDGER", "/var/lib/klipstream/ledger.db")),
            http_host=env.text("HTTP_HOST", "0.0.0.0"),  # noqa: S104 - the kubelet and Prometheus ask from outside
            http_port=env.whole("HTTP_PORT", 8083, 0, 65535),
            progress_seconds=env.number("PROGRESS_SECONDS", 30, 1, 86_400),
            relist_seconds=env.number("RELIST_SECONDS", 600, 1, 86_400),
            timeout_seconds=env.number("TIMEOUT_SECONDS", 10, 0.1, 60),
            retries=RetryPolicy(
                attempts=env.whole("ATTEMPTS", 3, 1, 100),
                first_delay_seconds=env.number("RETRY_SECONDS", 10, 0.01, 3600),
                give_up_seconds=env.number("GIVE_UP_SECONDS", 86_400, 1, 604_800),
            ),
            breakers=BreakerPolicy(
                threshold=env.whole("CIRCUIT_FAILURES", 5, 1, 1000),
                first_open_seconds=env.number("CIRCUIT_SECONDS", 10, 0.01, 3600),
                longest_open_seconds=env.number("CIRCUIT_AT_MOST_SECONDS", 300, 0.01, 86_400),
            ),
            limits=Limits(
                per_endpoint=env.whole("PER_ENDPOINT", 4, 1, 256),
                together=env.whole("TOGETHER", 256, 2, 10_000),
                keep_seconds=env.number("KEEP_SECONDS", 604_800, 60, 31_536_000),
            ),
            rules=rules,
            ca_file=env.file("CA_FILE"),
            sealing_ring=env.path("SEALING_RING"),
            nameservers=env.words("NAMESERVERS"),
            tracing=TracingSettings.from_environment(env),
            log_format=env.log_format(),
            log_level=env.log_level(),
        )

    def tls(self) -> ssl.SSLContext | None:
        """For receivers with an authority of their own, beside the machine's; None where there is none."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context()
        context.load_verify_locations(self.ca_file)
        return context
