"""The address guard: this process connects to public addresses only, whatever name led there.

The check stands at the connection itself: a redirect, a playlist's segment or a name that resolves to another address
the second time all end in `connect`, with the address that is really used.
"""

import socket
from typing import Any

from klipstream_netguard import Rules


class AddressRefused(BaseException):
    """A source leads to an address that it may not have. Not an Exception: libraries would catch it and try again."""


def rules_of(networks: str) -> Rules:
    """The public Internet, and networks in CIDR notation that commas separate. Raises BadRule."""
    return Rules.of(allowed_networks=filter(None, (part.strip() for part in networks.split(","))))


def install(rules: Rules) -> None:
    """Guard every connection of this process from now on, for good.

    Every client in Python ends in socket.connect or connect_ex: urllib, http.client, urllib3, httpcore, asyncio.
    Extensions that bring sockets of their own, such as libcurl, do not, so the process must not use such.
    """
    real_connect, real_connect_ex = socket.socket.connect, socket.socket.connect_ex

    def connect(self: socket.socket, address: Any) -> None:
        real_connect(self, _checked(self, address, rules))
        _check_peer(self, rules)

    def connect_ex(self: socket.socket, address: Any) -> int:
        return real_connect_ex(self, _checked(self, address, rules))

    socket.socket.connect = connect  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign,assignment]


def _checked(sock: socket.socket, address: Any, rules: Rules) -> Any:
    """The numeric address to connect to. Raises AddressRefused.

    A name would be resolved once more by the C library, perhaps to something else, so it is resolved here.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise AddressRefused(f"a connection of family {sock.family!r} is refused: a source is reached by IP only")
    found = socket.getaddrinfo(address[0], address[1], sock.family, sock.type, sock.proto)
    numeric = found[0][4]
    host = str(numeric[0])
    reason = rules.refusal(host, "")
    if reason is not None:
        raise AddressRefused(reason)
    return numeric


def _check_peer(sock: socket.socket, rules: Rules) -> None:
    """A proxy of the kernel's may have led elsewhere; nothing has been sent yet."""
    try:
        host = str(sock.getpeername()[0])
    except OSError:  # it is not connected yet (a non-blocking socket), or not any more
        return
    reason = rules.refusal(host, "")
    if reason is not None:
        sock.close()
        raise AddressRefused(reason)
