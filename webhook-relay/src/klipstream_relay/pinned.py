"""Connections that only go where the address guard allows: a name is looked up once, and what was checked is called.

Between a check and a connection nothing is looked up again, so a name server that answers differently the second time
(DNS rebinding) gains nothing. Addresses that a URL names itself never pass a resolver: the socket is the last gate.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from klipstream_netguard import Rules

LOOKUP_SECONDS = 5.0
LOOKUP_TRIES = 2
ADDRESSES_AT_MOST = 16
CLOSING_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 4.0
"""Shorter than the five seconds after which many servers close a silent connection: a delivery must not meet that."""


class AddressRefused(OSError):
    """The name leads where nobody may be sent; the message says where and why."""


class NameNotFound(OSError):
    """The name has no address, or its name servers do not answer."""


class PinnedResolver(AbstractResolver):
    """Looks a name up once and returns only addresses that were checked; one refused address refuses the name.

    `nameservers` are those of the machine where empty. Names that are not on the allow-list are looked up as they are
    and never below the cluster's search domains. No thread waits for a name server (c-ares), so a slow one delays its
    own endpoint alone.
    """

    def __init__(self, rules: Rules, nameservers: tuple[str, ...] = ()) -> None:
        self.rules = rules
        options: dict[str, Any] = {"timeout": LOOKUP_SECONDS / LOOKUP_TRIES, "tries": LOOKUP_TRIES}
        if nameservers:
            options["nameservers"] = list(nameservers)
        self._resolver = aiohttp.AsyncResolver(**options)
        self._lookups: set[asyncio.Task[list[ResolveResult]]] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises AddressRefused and NameNotFound."""
        name = host.rstrip(".").lower()
        absolute = name if self.rules.listed_host(name) else f"{name}."
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await asyncio.shield(self._lookup(absolute, port, family))
        except TimeoutError:
            raise NameNotFound(f"the name servers of {name} do not answer") from None
        except OSError as error:
            raise NameNotFound(f"{name} has no address: {error}") from error
        for result in found:
            if (why := self.rules.refusal(result["host"], name)) is not None:
                raise AddressRefused(f"{name} leads inside: {why}")
        return found[:ADDRESSES_AT_MOST]

    def _lookup(self, name: str, port: int, family: socket.AddressFamily) -> asyncio.Task[list[ResolveResult]]:
        """A task of its own: c-ares answers from its thread even to those who went away, so `close` waits for it."""
        task = asyncio.create_task(self._resolver.resolve(name, port, family))
        self._lookups.add(task)
        task.add_done_callback(self._looked_up)
        return task

    def _looked_up(self, task: asyncio.Task[list[ResolveResult]]) -> None:
        self._lookups.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waited has it

    async def close(self) -> None:
        """Give up what is being looked up; the connector does not do it by itself."""
        await self._resolver.close()
        if self._lookups:
            await asyncio.wait(self._lookups, timeout=CLOSING_SECONDS)


_called: ContextVar[str] = ContextVar("called", default="")


@contextmanager
def calling(host: str) -> Iterator[None]:
    """Which host the requests within are for; without it the allow-list's hosts do not count."""
    token = _called.set(host.rstrip(".").lower())
    try:
        yield
    finally:
        _called.reset(token)


def pinned_connector(resolver: PinnedResolver, tls: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
    """A pool of connections to addresses that the resolver's rules allow; the caller closes the resolver.

    How many there are at once is up to the caller's own limits.
    """

    def gate(address: tuple[Any, ...]) -> socket.socket:
        """Judges the very address that is about to be connected to."""
        family, kind, protocol, _, where = address
        if (why := resolver.rules.refusal(where[0], _called.get())) is not None:
            raise AddressRefused(f"the URL leads inside: {why}")
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(
        resolver=resolver,
        use_dns_cache=False,
        socket_factory=gate,
        ssl=tls if tls is not None else True,
        limit=0,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
    )
