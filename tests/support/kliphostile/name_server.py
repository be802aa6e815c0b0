"""A name server of its own on loopback (UDP), which may answer differently the second time."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address
from typing import cast

A, AAAA = 1, 28
Zone = Callable[[str, int], Sequence[str]]
"""Addresses of a name (lower case, without a final dot) the n-th time it is asked for, from 1."""


class NameServer(asyncio.DatagramProtocol):
    """Answers A and AAAA questions from a zone; NXDOMAIN for names without addresses."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: Counter[tuple[str, int]] = Counter()
        self.silent = False
        """Whether questions get no answer at all."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, end = _question(data)
        self.asked[name, kind] += 1
        if self.silent:
            return
        everything = [ip_address(text) for text in self.zone(name, self.asked[name, kind])]
        found = [a for a in everything if isinstance(a, IPv4Address) == (kind == A)] if kind in (A, AAAA) else []
        flags = 0x8180 | (0 if everything else 3)
        answer = struct.pack("!HHHHHH", struct.unpack_from("!H", data)[0], flags, 1, len(found), 0, 0) + data[12:end]
        for address in found:
            answer += struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(address.packed)) + address.packed
        self.transport.sendto(answer, addr)

    @property
    def where(self) -> str:
        """127.0.0.1:port."""
        host, port = self.transport.get_extra_info("sockname")
        return f"{host}:{port}"


@asynccontextmanager
async def name_server(zone: Zone) -> AsyncIterator[NameServer]:
    """A running name server."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()


def _question(data: bytes) -> tuple[str, int, int]:
    """Name, type and end of the first question."""
    labels: list[str] = []
    at = 12
    while (length := data[at]) != 0:
        labels.append(data[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), struct.unpack_from("!H", data, at + 1)[0], at + 5
