"""Settings of the Convex side, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


class BadSettings(ValueError):
    """A variable does not hold what it should; the message names it."""


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
        """None where no CONVEX_URL is set. Raises BadSettings."""
        url = environment.get("KLIPSTREAM_CONVEX_URL", "")
        if not url:
            return None
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1") or (parts.hostname or "").endswith(
            (".svc", ".local")
        )
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise BadSettings(
                f"KLIPSTREAM_CONVEX_URL is {url!r}: it must be https://….convex.cloud (http inside a cluster)"
            )
        secret = _secret(environment, "KLIPSTREAM_CONVEX_SECRET_FILE")
        deploy_key = _secret(environment, "KLIPSTREAM_CONVEX_DEPLOY_KEY_FILE")
        if (secret is None) == (deploy_key is None):
            raise BadSettings(
                "One of KLIPSTREAM_CONVEX_SECRET_FILE and KLIPSTREAM_CONVEX_DEPLOY_KEY_FILE must name a file:"
                " the relay's secret (KLIPSTREAM_RELAY_SECRET of the deployment), or a deploy key"
            )
        return cls(
            url=url,
            cluster=environment.get("KLIPSTREAM_CONVEX_CLUSTER") or "default",
            secret=secret,
            deploy_key=deploy_key,
            flush_seconds=_seconds(environment, "KLIPSTREAM_CONVEX_FLUSH_SECONDS", cls.flush_seconds),
            sweep_seconds=_seconds(environment, "KLIPSTREAM_CONVEX_SWEEP_SECONDS", cls.sweep_seconds),
            heartbeat_seconds=_seconds(environment, "KLIPSTREAM_CONVEX_HEARTBEAT_SECONDS", cls.heartbeat_seconds),
            requests_seconds=_seconds(environment, "KLIPSTREAM_CONVEX_REQUESTS_SECONDS", cls.requests_seconds),
            namespace=environment.get("KLIPSTREAM_CONVEX_NAMESPACE") or cls.namespace,
        )


def _secret(environment: Mapping[str, str], name: str) -> str | None:
    path = environment.get(name)
    if not path:
        return None
    try:
        content = Path(path).read_text().strip()
    except OSError as error:
        raise BadSettings(f"{name}: {path} cannot be read: {error.strerror}") from error
    if not content:
        raise BadSettings(f"{name}: {path} is empty")
    return content


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise BadSettings(f"{name} is {text!r}: it must be a number of seconds") from error
    if not 0 <= value < float("inf"):
        raise BadSettings(f"{name} is {text!r}: it must be 0 or more")
    return value
