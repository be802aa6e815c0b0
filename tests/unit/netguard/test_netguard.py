"""Which addresses and URLs may be called."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kliphostile.urls import INNER_V4, INNER_V6, hostile_urls
from klipstream_netguard import BadRule, PlainHttp, Rules, Target, host_matches, parse_target, refusal, url_problem

URLS = hostile_urls(8443)


def test_there_are_more_than_three_hundred_hostile_urls() -> None:
    assert len(URLS) >= 300


@pytest.mark.parametrize("url", URLS)
def test_a_hostile_url_is_refused_with_a_reason(url: str) -> None:
    problem = url_problem(url)
    assert problem is not None
    assert len(problem.split()) >= 4


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/",
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a/b?c=d&e=%20f",
        "HTTPS://Hooks.Example.COM/",
        "https://hooks.example.com./x",
        "https://xn--bcher-kva.example.com/?a[]=b",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://my_service.example.com/",
        "https://a/b".replace("a", "7hooks.example.com"),
    ],
)
def test_an_ordinary_url_passes(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize("address", [*INNER_V4, *INNER_V6, "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1"])
def test_an_inner_address_is_refused(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111"])
def test_a_public_address_passes(address: str) -> None:
    assert refusal(address) is None


def test_a_nat64_address_counts_as_the_one_behind_it() -> None:
    assert refusal("64:ff9b::8.8.8.8") is None
    assert "169.254.169.254" in str(refusal("64:ff9b::169.254.169.254"))
    assert "cluster" in str(refusal("64:ff9b::44.0.0.1", [ip_network("44.0.0.0/16")]))


@pytest.mark.parametrize("text", ["", "127.1", "0x7f000001", "2130706433", "fe80::1%eth0", "01.02.03.04", "host"])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    assert refusal(text) is not None


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_refused(address: object) -> None:
    from ipaddress import IPv4Address, IPv6Address

    assert isinstance(address, IPv4Address | IPv6Address)
    inner = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if inner and not str(address).startswith("64:ff9b:"):
        assert refusal(address) is not None


@given(st.text(max_size=60))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert url_problem(text) is not None  # none of these begins with https:// and a full name
    parse_target(f"https://{text}")


@given(st.from_regex(r"https://[0-9a-fx.%:\[\]@]{1,24}/", fullmatch=True))
def test_what_passes_is_what_the_client_connects_to(url: str) -> None:
    from yarl import URL

    target = parse_target(url)
    if isinstance(target, Target):
        read = URL(url, encoded=True)
        assert (read.host or "").rstrip(".") == target.host
        assert read.port == target.port
        assert read.user is None


def test_cluster_networks_are_refused_even_where_they_are_public() -> None:
    rules = Rules.of(cluster_networks=["44.0.0.0/16"])
    assert "cluster" in str(rules.refusal("44.0.3.4", "hooks.example.com"))
    assert "cluster" in str(url_problem("https://44.0.3.4/", rules))
    assert rules.refusal("44.1.3.4", "hooks.example.com") is None


def test_a_host_of_the_allow_list_may_be_private_but_not_the_machine_itself() -> None:
    rules = Rules.of(cluster_networks=["10.96.0.0/12"], allowed_hosts=["receiver.shop.svc", "*.internal.example.com"])
    assert url_problem("https://receiver.shop.svc/hook", rules) is None
    assert rules.refusal("10.96.3.4", "receiver.shop.svc") is None
    assert rules.refusal("fd00::4", "a.b.internal.example.com") is None
    for address in ("127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1", "224.0.0.1", "0.0.0.0"):
        assert rules.refusal(address, "receiver.shop.svc") is not None
    assert rules.refusal("10.96.3.4", "other.shop.svc") is not None
    assert rules.refusal("10.96.3.4", "internal.example.com") is not None


def test_a_network_of_the_allow_list_may_be_anything() -> None:
    rules = Rules.of(allowed_networks=["127.0.0.1/32"])
    assert url_problem("https://127.0.0.1:8443/", rules) is None
    assert rules.refusal("127.0.0.1", "hooks.example.com") is None
    assert url_problem("https://127.0.0.2:8443/", rules) is not None


@pytest.mark.parametrize(
    ("plain_http", "url", "passes"),
    [
        (PlainHttp.NEVER, "http://receiver.shop.svc/", False),
        (PlainHttp.LISTED, "http://receiver.shop.svc/", True),
        (PlainHttp.LISTED, "http://10.0.0.9/", True),
        (PlainHttp.LISTED, "http://hooks.example.com/", False),
        (PlainHttp.LISTED, "http://8.8.8.8/", False),
        (PlainHttp.ALWAYS, "http://hooks.example.com/", True),
        (PlainHttp.ALWAYS, "http://10.0.0.8/", False),
    ],
)
def test_plain_http_goes_to_whom_the_rules_say(plain_http: PlainHttp, url: str, passes: bool) -> None:
    rules = Rules.of(allowed_hosts=["receiver.shop.svc"], allowed_networks=["10.0.0.9/32"], plain_http=plain_http)
    assert (url_problem(url, rules) is None) is passes


@pytest.mark.parametrize("port", [22, 25, 6000, 6667])
def test_ports_of_other_protocols_are_refused(port: int) -> None:
    assert "another protocol" in str(url_problem(f"https://hooks.example.com:{port}/"))


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_networks": ["10.0.0.1/8"]},
        {"allowed_networks": ["shop"]},
        {"cluster_networks": ["10.0.0.0/40"]},
        {"allowed_hosts": ["https://a.b"]},
        {"allowed_hosts": ["*"]},
        {"allowed_hosts": ["a.*.b"]},
        {"allowed_hosts": [""]},
        {"allowed_hosts": ["10.0.0.1"]},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(settings: dict[str, list[str]]) -> None:
    with pytest.raises(BadRule):
        Rules.of(**settings)  # type: ignore[arg-type]


def test_a_pattern_names_a_host_or_all_below_it() -> None:
    assert host_matches("Hooks.example.com", "hooks.EXAMPLE.com.")
    assert host_matches("*.example.com", "a.b.example.com")
    assert not host_matches("*.example.com", "example.com")
    assert not host_matches("*.example.com", "evilexample.com")
    assert not host_matches("example.com", "a.example.com")
