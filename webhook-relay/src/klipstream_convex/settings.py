"""Settings of the Convex side, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from klipstream_service import BadSetting, Environment

LONGEST_SECONDS = 30 * 86_400.0


@dataclass(frozen=True)
class Settings:
    """Where the deployment is and how we are known there; times in seconds."""

    url: str
    cluster: str
    secret: str | None = None
    deploy_key: str | None = None
    flush_seconds: float = 0.3
    """How long changes are gathered before they are sent."""
    sweep_seconds: float = 3600.0
    """How often all rows are compared."""
    heartbeat_seconds: float = 30.0
    requests_seconds: float = 2.0
    """How often we ask what apps want; 0: never."""
    namespace: str = "default"
    """Where jobs that apps submit are created."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings | None":
        """None where no CONVEX_URL is set. Raises BadSetting."""
        env = Environment(environment)
        url = env.text("CONVEX_URL")
        if not url:
            return None
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1") or (parts.hostname or "").endswith(
            (".svc", ".local")
        )
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise env.bad("CONVEX_URL", "it must be https://….convex.cloud (http inside a cluster)")
        secret = env.content("CONVEX_SECRET_FILE")
        deploy_key = env.content("CONVEX_DEPLOY_KEY_FILE")
        if (secret is None) == (deploy_key is None):
            raise BadSetting(
                "One of KLIPSTREAM_CONVEX_SECRET_FILE and KLIPSTREAM_CONVEX_DEPLOY_KEY_FILE must name a file:"
                " the relay's secret (KLIPSTREAM_RELAY_SECRET of the deployment), or a deploy key"
            )
        return cls(
            url=url,
            cluster=env.text("CONVEX_CLUSTER", "default"),
            secret=secret,
            deploy_key=deploy_key,
            flush_seconds=env.number("CONVEX_FLUSH_SECONDS", cls.flush_seconds, 0, LONGEST_SECONDS),
            sweep_seconds=env.number("CONVEX_SWEEP_SECONDS", cls.sweep_seconds, 0, LONGEST_SECONDS),
            heartbeat_seconds=env.number("CONVEX_HEARTBEAT_SECONDS", cls.heartbeat_seconds, 0, LONGEST_SECONDS),
            requests_seconds=env.number("CONVEX_REQUESTS_SECONDS", cls.requests_seconds, 0, LONGEST_SECONDS),
            namespace=env.text("CONVEX_NAMESPACE", cls.namespace),
        )
