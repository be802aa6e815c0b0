"""How to reach the API server: from inside a pod, or from a kubeconfig file."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Credentials:
    """The Authorization header, asked for again every minute and after the server refused it.

    `load(refused)` returns the header's value or None; it may block (an exec plugin, a file), so it runs
    in a thread. A minute is well inside what the kubelet leaves between rotating a token and its expiry.
    """

    def __init__(self, load: Callable[[bool], str | None], max_age_seconds: float = 60.0) -> None:
        self._load = load
        self._max_age_seconds = max_age_seconds
        self._value: str | None = None
        self._loaded_at = float("-inf")
        self._refused = False
        self._loading = asyncio.Lock()

    async def header(self) -> str | None:
        """The value to send, e.g. "Bearer …", or None where a client certificate or nothing identifies us."""
        if time.monotonic() - self._loaded_at >= self._max_age_seconds:
            async with self._loading:
                if time.monotonic() - self._loaded_at >= self._max_age_seconds:
                    refused, self._refused = self._refused, False
                    self._value = await asyncio.to_thread(self._load, refused)
                    self._loaded_at = time.monotonic()
        return self._value

    def refused(self) -> None:
        """The server answered 401: get it anew before the next request."""
        self._refused = True
        self._loaded_at = float("-inf")


def anonymous() -> Credentials:
    """Credentials that send no Authorization header."""
    return Credentials(lambda _refused: None)


@dataclass(frozen=True)
class Connection:
    """One API server and how to identify ourselves to it. `namespace` is the one to use by default."""

    server: str
    ssl_context: ssl.SSLContext | None = None
    credentials: Credentials = field(default_factory=anonymous)
    namespace: str = "default"
    tls_server_name: str | None = None
    proxy: str | None = None


def load_connection(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """The connection described by `kubeconfig`, else $KUBECONFIG, else this pod's service account, else
    ~/.kube/config.

    `context` picks another context of the kubeconfig than its current one. Raises ConfigurationError.
    """
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG")
    if not kubeconfig and context is None and (SERVICE_ACCOUNT / "token").exists():
        return _in_cluster(SERVICE_ACCOUNT)
    return _from_kubeconfig(kubeconfig or "~/.kube/config", context)


def _in_cluster(directory: Path) -> Connection:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise ConfigurationError(
            f"{directory} holds a service account but KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT "
            "are not set: is this a pod? Give a kubeconfig otherwise."
        )
    token_file, ca_file, namespace_file = (directory / name for name in ("token", "ca.crt", "namespace"))

    def bearer(_refused: bool) -> str:
        try:
            return f"Bearer {token_file.read_text().strip()}"
        except OSError as error:
            raise ConfigurationError(f"cannot read the service account's token: {error}") from error

    try:
        trusted = ssl.create_default_context(cafile=str(ca_file))
        namespace = namespace_file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read the pod's service account files: {error}") from error
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ssl_context=trusted,
        credentials=Credentials(bearer),
        namespace=namespace,
    )


def _from_kubeconfig(kubeconfig: str, context: str | None) -> Connection:
    try:
        # Costs a second and tens of megabytes, which a pod with its service account can do without.
        from kubernetes import client as official
        from kubernetes import config as loader
    except ImportError as error:
        raise ConfigurationError(
            f"reading {kubeconfig} needs the package 'kubernetes' (pip install kubernetes)"
        ) from error

    path = os.path.expanduser(kubeconfig)
    untyped: Any = loader

    def load() -> Any:
        import yaml

        configuration = official.Configuration()
        try:
            untyped.load_kube_config(path, context, configuration, persist_config=False)
        except (loader.ConfigException, yaml.YAMLError, OSError, ValueError) as error:
            raise ConfigurationError(f"kubeconfig {kubeconfig}: {error}") from error
        return configuration

    configuration = load()
    contexts, current = untyped.list_kube_config_contexts(path)
    chosen = next((each for each in contexts if each["name"] == context), current)
    try:
        trusted = _tls(configuration) if configuration.host.startswith("https:") else None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"kubeconfig {kubeconfig}: its certificates: {error}") from error

    def authorization(refused: bool) -> str | None:
        nonlocal configuration
        if refused:
            configuration = load()  # runs an exec plugin again; by itself it would only once expired
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        value = configuration.api_key.get("BearerToken")
        return str(value) if value else None

    return Connection(
        server=configuration.host.rstrip("/"),
        ssl_context=trusted,
        credentials=Credentials(authorization),
        namespace=chosen["context"].get("namespace") or "default",
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
    )


def _tls(configuration: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
