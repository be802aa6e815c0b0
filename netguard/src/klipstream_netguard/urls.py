"""Which URLs may be called, judged by their text alone.

Strict on purpose: programs read odd URLs differently (WHATWG, RFC 3986, `inet_aton`), and what one of them calls
harmless leads another one inside. So a URL is only taken in the form that all of them read alike.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from klipstream_netguard.addresses import Address
from klipstream_netguard.rules import PlainHttp, Rules, matches

LONGEST_URL = 2048
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_NO_DELIMITER = re.compile(r'[\\<>"{}|^`]')
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTTED_QUAD = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")

# RFC 6761, 6762, 7686, 8375, 9476 and what clusters and clouds use: never a name of the public Internet.
_INSIDE = (
    "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "svc",
    "home.arpa", "in-addr.arpa", "ip6.arpa", "invalid", "test", "example", "onion", "alt", "cluster.local",
)  # fmt: skip
# The Fetch standard's bad ports: services that may read an HTTP request as commands of their own.
_BAD_PORTS = frozenset((
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL leads to: the host in lower case and without a final dot, `address` where it is one itself."""

    scheme: str
    host: str
    port: int
    address: Address | None


def url_problem(url: str, rules: Rules | None = None) -> str | None:
    """Why a URL may not be called, as a sentence for the one who wrote it; None where its text is harmless.

    Nothing is resolved here: a name that passes may still lead to an address that `Rules.refusal` refuses.
    """
    target = parse_target(url)
    return target if isinstance(target, str) else target_problem(target, rules or Rules())


@lru_cache(maxsize=4096)
def parse_target(url: str) -> Target | str:
    """The target of a URL, or what is wrong with its text."""
    if len(url) > LONGEST_URL:
        return f"the URL has {len(url)} characters: at most {LONGEST_URL} are taken"
    if not _PRINTABLE.fullmatch(url):
        return "the URL holds spaces, control or non-ASCII characters: percent-encode them, a host's as xn--"
    if _NO_DELIMITER.search(url):
        return "the URL holds a character that programs read differently (such as a backslash): percent-encode it"
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("https", "http"):
        return "the URL must begin with https://"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "#" in rest:
        return "the URL has a fragment (#…), which is never sent: leave it out"
    if "@" in authority:
        return "the URL holds a user name or password: leave them out, tokens go into a Secret"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"the URL cannot be read: {error}"
    if parts.netloc != authority:
        return "the URL cannot be read: its host is ambiguous"
    return _target(scheme, authority.lower())


def target_problem(target: Target, rules: Rules) -> str | None:
    """What the rules say against a target, as far as it can be said before its name is looked up."""
    listed = rules.listed_host(target.host)
    if target.address is not None:
        why = rules.refusal(str(target.address), target.host)
        if why is not None:
            return f"the URL leads inside: {why}"
        listed = rules.listed_address(target.address)
    elif not listed and (inside := _inside(target.host)) is not None:
        return inside
    if target.scheme == "http" and not (
        rules.plain_http is PlainHttp.ALWAYS or (rules.plain_http is PlainHttp.LISTED and listed)
    ):
        return "the URL must begin with https://"
    if target.port in _BAD_PORTS:
        return f"port {target.port} belongs to another protocol than HTTP"
    return None


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host is named by `shop.example.com`, or by `*.example.com` for all below it; case does not count."""
    return matches(pattern.strip().lower().rstrip("."), host.lower().rstrip("."))


def _target(scheme: str, authority: str) -> Target | str:
    """The target of an authority in lower case."""
    if authority.startswith("["):
        literal, bracket, port_text = authority[1:].partition("]")
        if not bracket or (port_text and not port_text.startswith(":")):
            return "the URL's IPv6 address is not closed properly"
        try:
            address: Address = IPv6Address(literal)
        except ValueError:
            return "the URL's host is no IPv6 address"
        if "%" in literal or "." in literal:
            return "the URL's IPv6 address is not in its plain form"
        port = _port(scheme, port_text.removeprefix(":") if port_text else None)
        return port if isinstance(port, str) else Target(scheme, str(address), port, address)
    host, colon, port_text = authority.partition(":")
    port = _port(scheme, port_text if colon else None)
    if isinstance(port, str):
        return port
    name = host.removesuffix(".")
    if not name:
        return "the URL has no host"
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return "the URL's host is no valid name: letters, digits, - and _ between dots"
    if _LIKE_A_NUMBER.fullmatch(name.rsplit(".", 1)[-1]):
        if not _DOTTED_QUAD.fullmatch(host):
            return "the URL's host is an IPv4 address in a form that programs read differently: write four decimals"
        try:
            address = ip_address(host)
        except ValueError:
            return "the URL's host is no IPv4 address"
        assert isinstance(address, IPv4Address)
        return Target(scheme, host, port, address)
    return Target(scheme, name, port, None)


def _port(scheme: str, text: str | None) -> int | str:
    if text is None:
        return 443 if scheme == "https" else 80
    if not _PORT.fullmatch(text) or int(text) > 65535:
        return "the URL's port is no number from 1 to 65535"
    return int(text)


def _inside(name: str) -> str | None:
    """Why a name can only be one of an inner network."""
    if "." not in name:
        return f"{name!r} is a name of the local network only: write the full name of a public host"
    for suffix in _INSIDE:
        if name == suffix or name.endswith(f".{suffix}"):
            return f"names that end in .{suffix} are never public: receivers inside need the allow-list"
    return None
