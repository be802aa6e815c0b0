"""Whose address a request comes from, and what it counts as (pure)."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from klipstream_gateway.routes import ANONYMOUS, Principal

Network = IPv4Network | IPv6Network
SUBNET_BITS = 64
"""What one customer of a provider has at least (RFC 6177): counting single IPv6 addresses would limit nobody."""


def client_address(remote: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """The caller's address: the last one in the lines of X-Forwarded-For that is none of our proxies, believed only
    where the connection comes from one."""
    address = remote or "unknown"
    hops = [part.strip() for line in forwarded for part in line.split(",")]
    while hops and _is_trusted(address, trusted):
        hop = hops.pop()
        try:
            address = str(ip_address(hop))
        except ValueError:
            break
    return address


def counted_as(principal: Principal, address: str) -> str:
    """Whose limits a request counts against: its key's or token's, else those of where it comes from."""
    return network_of(address) if principal is ANONYMOUS else principal.name


def network_of(address: str) -> str:
    """What an address counts as: an IPv6 one as its /64, an IPv4 one in the clothes of IPv6 as the IPv4 one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), SUBNET_BITS), strict=False))


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
