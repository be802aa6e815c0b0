"""Which addresses nobody may be sent to: everything that is not an ordinary address of the public Internet.

The tables follow IANA's special-purpose address registries (RFC 6890 and successors) and are written out, since what
`ipaddress` calls global has changed between Python releases.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = [
    ("0.0.0.0/8", "this host (unspecified)"),
    ("10.0.0.0/8", "a private network"),
    ("100.64.0.0/10", "carrier-grade NAT, also used inside clusters"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where clouds serve credentials"),
    ("172.16.0.0/12", "a private network"),
    ("192.0.0.0/24", "IETF protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "the 6to4 relay"),
    ("192.168.0.0/16", "a private network"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    # Not special by IANA: addresses of cloud platforms that answer from inside of their machines only.
    ("168.63.129.16/32", "a cloud platform's own service"),
]
_SPECIAL_V6 = [
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6 clothes (mapped)"),
    ("::ffff:0:0:0/96", "an IPv4 address in IPv6 clothes (translated)"),
    ("::/96", "an IPv4 address in IPv6 clothes (compatible)"),
    ("64:ff9b:1::/48", "NAT64 of a local network"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo, which carries an IPv4 address"),
    ("2001::/23", "IETF protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4, which carries an IPv4 address"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "a unique local address (private)"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local (private)"),
    ("ff00::/8", "multicast"),
]
_SPECIAL: list[tuple[Network, str]] = [(ip_network(text), why) for text, why in [*_SPECIAL_V4, *_SPECIAL_V6]]
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")

_NEVER = {
    ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
        "168.63.129.16/32", "::/128", "::1/128", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "fe80::/10", "ff00::/8",
    )
}  # fmt: skip
"""What even a host of the allow-list may not lead to: the machine itself and its link, groups and old disguises."""


def refusal(address: str | Address, cluster_networks: Iterable[Network] = ()) -> str | None:
    """Why an address may not be called, as the end of a sentence, or None where it may.

    Text that is no address in its one plain form (`127.1`, `0x7f000001`, `fe80::1%eth0`) is refused. Of a NAT64
    address (RFC 6052) the IPv4 address counts that it stands for. `cluster_networks` are those of pods, Services and
    nodes, which may well be public ones.
    """
    parsed = _parsed(address)
    if parsed is None:
        return "it is no IP address"
    why = special(parsed)
    if why is not None:
        return f"{parsed} is {why}"
    inner = nat64_target(parsed)
    for network in cluster_networks:
        if parsed in network or (inner is not None and inner in network):
            return f"{parsed} is an address of the cluster ({network})"
    return None


@lru_cache(maxsize=4096)
def special(address: Address) -> str | None:
    """What is special about an address; None for one of the public Internet."""
    for network, why in _SPECIAL:
        if address in network:
            return why
    if isinstance(address, IPv6Address):
        inner = nat64_target(address)
        if inner is not None:
            behind = special(inner)
            return f"NAT64 for {inner}, {behind}" if behind is not None else None
        if address not in _GLOBAL_UNICAST:
            return "not a global unicast address"
    return None


def never(address: Address) -> bool:
    """Whether not even an allowed host may lead there; only a network that is itself allowed can."""
    inner = nat64_target(address)
    return any(address in network for network in _NEVER) or (inner is not None and never(inner))


def nat64_target(address: Address) -> IPv4Address | None:
    """The IPv4 address behind an address of the well-known NAT64 prefix."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _parsed(address: str | Address) -> Address | None:
    if not isinstance(address, str):
        return None if isinstance(address, IPv6Address) and address.scope_id else address
    if "%" in address:
        return None
    try:
        return ip_address(address)
    except ValueError:
        return None
