"""Whose limit a request counts against, by table."""

import pytest

from klipstream_gateway.addresses import client_address, counted_as, network_of
from klipstream_gateway.routes import ANONYMOUS, Principal, Scope
from klipstream_gateway.settings import Settings


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
    assert counted_as(ANONYMOUS, address) == network
    assert counted_as(Principal("key:shop", frozenset([Scope.READ])), address) == "key:shop"


@pytest.mark.parametrize(
    ("rule", "remote", "forwarded", "address"),
    [
        ("without a proxy it is where the connection comes from", "192.0.2.7", [], "192.0.2.7"),
        ("nobody else is believed", "192.0.2.7", ["203.0.113.1"], "192.0.2.7"),
        ("a proxy is", "10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("but not who said it to the proxy", "10.0.0.1", ["198.51.100.1, 203.0.113.1"], "203.0.113.1"),
        ("unless that is a proxy too", "10.0.0.1", ["203.0.113.1", "10.0.0.2"], "203.0.113.1"),
        ("what is no address ends it", "10.0.0.1", ["203.0.113.1, nonsense"], "10.0.0.1"),
        ("two spellings are one address", "10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1"),
    ],
)
def test_a_caller_is_where_its_last_hop_before_our_proxies_is(
    rule: str, remote: str, forwarded: list[str], address: str
) -> None:
    trusted = Settings.from_environment("n", {"KLIPSTREAM_TRUSTED_PROXIES": "10.0.0.0/8"}).trusted_proxies
    assert client_address(remote, forwarded, trusted) == address, rule
