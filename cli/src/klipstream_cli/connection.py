"""Connections to an API server: TLS to a name that need not be the host's, and proxies on the way."""

from __future__ import annotations

import http.client
import os
import select
import socket
import ssl

from klipstream_cli.kubeconfig import Access

KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the other end is probed, between probes, and how many go unanswered."""


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel notice a server or a gateway on the way that went away while nothing was said."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_stale(sock: socket.socket | None) -> bool:
    """Whether a connection on which no answer is awaited has something to read: its end, or what nobody asked for."""
    return sock is not None and bool(select.select([sock], [], [], 0)[0])


class Http(http.client.HTTPConnection):
    """Without TLS, as through `kubectl proxy`."""

    def connect(self) -> None:
        super().connect()
        keep_alive(self.sock)


class Https(http.client.HTTPSConnection):
    """TLS to a name that need not be the host's (tls-server-name, or through a proxy)."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, name: str, seconds: float | None) -> None:
        super().__init__(host, port, context=context, timeout=seconds)
        self._tls_context, self._tls_name = context, name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        keep_alive(self.sock)
        self.sock = self._tls_context.wrap_socket(self.sock, server_hostname=self._tls_name)


def proxy_for(access: Access, host: str) -> str | None:
    """The cluster's proxy, else the environment's, as Go reads it: never for this machine itself."""
    if access.proxy:
        return access.proxy
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if not proxy or host in ("localhost", "::1") or host.startswith("127."):
        return None
    excluded = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    if any(_excludes(entry.strip(), host) for entry in excluded.split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url.rpartition("@")[2]


def _excludes(entry: str, host: str) -> bool:
    if not entry:
        return False
    if entry == "*" or host == entry.lstrip("."):
        return True
    if "/" in entry:
        import ipaddress

        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    return host.endswith("." + entry.lstrip("."))


def proxy_headers(username: str | None, password: str | None) -> dict[str, str]:
    if username is None:
        return {}
    import base64

    pair = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {pair}"}
