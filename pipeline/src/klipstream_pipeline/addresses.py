"""Which network addresses a source may have (pure)."""

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# RFC 6052, RFC 8215: an IPv4 address stands in the last 32 bits, and a gateway of the cluster's may translate it.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# RFC 3056, RFC 4380: tunnels whose other end is an IPv4 address inside.
_TUNNELS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))
# RFC 6890: Python knew only parts of it up to 3.11.9.
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks in CIDR notation, separated by commas. Raises ValueError that names the bad one."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def why_refused(address: str, allowed: tuple[Network, ...]) -> str | None:
    """What kind of address it is where a source may not have it; None for a public or an allowed one.

    Refused is what IANA's registries do not call globally reachable (RFC 6890), multicast, and IPv6 forms that lead to
    such an IPv4 address. Raises ValueError for what is no address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = _embedded(ip)
    if any(ip in network or (inner is not None and inner in network) for network in allowed):
        return None
    if inner is not None:
        kind = _kind(inner)
        return None if kind is None else f"{kind} (as {ip})"
    return _kind(ip)


def _embedded(ip: Address) -> IPv4Address | None:
    """The IPv4 address that a packet to an IPv6 address may end up at."""
    if isinstance(ip, IPv4Address):
        return None
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if any(ip in network for network in _TRANSLATED):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def _kind(ip: Address) -> str | None:
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_unspecified:
        return "the unspecified address"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_multicast:
        return "a multicast address"
    if isinstance(ip, IPv6Address) and (ip.is_site_local or any(ip in network for network in _TUNNELS)):
        return "a site-local or tunnelled address"
    if not ip.is_global or ip.is_reserved or ip in _PROTOCOLS:
        return "a private or reserved address"
    return None
