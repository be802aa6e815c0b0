"""What an installation allows beyond the public Internet by https."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Self

from klipstream_netguard.addresses import Address, Network, never, refusal


class BadRule(ValueError):
    """A network or a host of the rules cannot be read; the message names it and says how to write it."""


class PlainHttp(StrEnum):
    """To whom http:// may be spoken."""

    NEVER = "Never"
    LISTED = "Listed"
    """To hosts and networks of the allow-list only, such as receivers in the cluster."""
    ALWAYS = "Always"
    """To everybody: for videos, which hold no secret of ours."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The allow-list and the cluster's own networks; the defaults allow the public Internet by https."""

    cluster_networks: tuple[Network, ...] = ()
    """Of pods, Services and nodes: refused as private ones are."""
    allowed_networks: tuple[Network, ...] = ()
    """Addresses in them may be called, whatever they are."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that may lead to private and cluster addresses: `receiver.shop.svc`, or `*.shop.svc` for all below it."""
    plain_http: PlainHttp = PlainHttp.NEVER

    @classmethod
    def of(
        cls,
        *,
        cluster_networks: Iterable[str] = (),
        allowed_networks: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
        plain_http: PlainHttp = PlainHttp.NEVER,
    ) -> Self:
        """The rules as settings write them. Raises BadRule."""
        hosts = tuple(host.strip().lower().rstrip(".") for host in allowed_hosts)
        for host in hosts:
            bare = host.removeprefix("*.")
            if not bare or any(c not in "abcdefghijklmnopqrstuvwxyz0123456789-_." for c in bare):
                raise BadRule(f"allowed host {host!r}: write a name such as receiver.shop.svc, or *.shop.svc")
            if _is_address(bare):
                raise BadRule(f"allowed host {host!r}: write an address as a network, such as {bare}/32")
        return cls(_networks(cluster_networks), _networks(allowed_networks), hosts, plain_http)

    def listed_host(self, host: str) -> bool:
        """Whether the allow-list names this host (lower case, without a final dot)."""
        return any(matches(pattern, host) for pattern in self.allowed_hosts)

    def listed_address(self, address: Address) -> bool:
        """Whether an allowed network holds this address."""
        return any(address in network for network in self.allowed_networks)

    def refusal(self, address: str, host: str) -> str | None:
        """Why `host` may not be called at `address`, one of those that its name led to; None where it may.

        A host of the allow-list may be private or in the cluster, but not the machine itself, its link or a group:
        for those the network has to be allowed.
        """
        why = refusal(address, self.cluster_networks)
        if why is None:
            return None
        try:
            parsed = ip_address(address)
        except ValueError:
            return why
        if self.listed_address(parsed) or (self.listed_host(host) and not never(parsed)):
            return None
        return why


def matches(pattern: str, host: str) -> bool:
    """Whether a host is the pattern, or below it where that begins with `*.`; the pattern's own name is not below."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text.strip()))
        except ValueError as error:
            raise BadRule(f"network {text!r}: {error}; write it as 10.0.0.0/8 or fd00::/8") from None
    return tuple(networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
