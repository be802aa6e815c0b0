"""Which addresses a source may have."""

import pytest

from klipstream_pipeline.addresses import parse_networks, why_refused


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1",
        "198.51.100.7", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::",
        "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
        "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert why_refused(address, ()) is not None


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "151.101.1.69", "192.88.98.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_what_is_public_is_not(address: str) -> None:
    assert why_refused(address, ()) is None


def test_an_allowed_network_lets_its_addresses_pass_and_no_others() -> None:
    allowed = parse_networks("10.1.0.0/16, fd00::/8")
    assert [why_refused(each, allowed) is None for each in ("10.1.2.3", "10.2.0.1", "fd00::5", "::ffff:10.1.2.3")] == [
        True, False, True, True,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="somewhere"):
        parse_networks("10.0.0.0/8,somewhere")
