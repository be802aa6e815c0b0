"""Some hundred URLs that must never be called: inner addresses in every clothing, inner names, and odd syntax."""

from collections.abc import Iterator
from ipaddress import IPv4Address

INNER_V4 = (
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.96.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.170",
    "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
)  # fmt: skip
INNER_V6 = (
    "::", "::1", "0:0:0:0:0:0:0:1", "0000::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1",
    "100::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "3fff::1", "64:ff9b:1::7f00:1", "5f00::1", "4000::1",
    "::ffff:0:7f00:1",
)  # fmt: skip
INNER_NAMES = (
    "localhost", "LOCALHOST", "localhost.", "foo.localhost", "localhost.localdomain", "kubernetes",
    "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    "KUBERNETES.DEFAULT.SVC.", "metadata", "metadata.google.internal", "metadata.google.internal.",
    "instance-data.ec2.internal", "printer.local", "router.lan", "nas.home.arpa", "db.corp", "x.test",
    "1.0.0.127.in-addr.arpa", "hidden.onion", "db.private", "a.invalid", "wiki.intranet",
)  # fmt: skip
LEADING_INSIDE = (
    "loopback.hostile.net", "metadata.hostile.net", "mapped.hostile.net", "ula.hostile.net",
    "link.hostile.net", "nat64.hostile.net", "mixed.hostile.net", "cgnat.hostile.net", "multicast.hostile.net",
    "service.hostile.net", "sixtofour.hostile.net", "unspecified.hostile.net", "pod.hostile.net",
)  # fmt: skip
"""Harmless names whose addresses are not; `zone` says which."""
_ADDRESSES = {
    "loopback": ["127.0.0.1"], "metadata": ["169.254.169.254"], "mapped": ["::ffff:127.0.0.1"], "ula": ["fd12::1"],
    "link": ["fe80::1"], "nat64": ["64:ff9b::a9fe:a9fe"], "mixed": ["93.184.215.14", "10.0.0.7"],
    "cgnat": ["100.64.1.1"], "multicast": ["224.0.0.251"], "service": ["10.96.0.10"],
    "sixtofour": ["2002:a00:1::1"], "unspecified": ["0.0.0.0"], "pod": ["44.0.2.3"],
}  # fmt: skip
CLUSTER_NETWORKS = ("10.96.0.0/12", "44.0.0.0/16")
"""Of the cluster that the zone's `pod` and `service` belong to; the pods have public addresses, as some do."""


def zone(name: str, time: int) -> list[str]:
    """The zone of these names for `name_server`."""
    label, _dot, rest = name.partition(".")
    return _ADDRESSES.get(label, []) if rest == "hostile.net" else []


def hostile_urls(port: int) -> list[str]:
    """URLs that must be refused by their text, with a port where something of ours listens."""
    return list(dict.fromkeys([*_addresses(port), *_names(port), *_syntax(port)]))


def _addresses(port: int) -> Iterator[str]:
    for text in INNER_V4:
        for host in _clothings(IPv4Address(text)):
            yield f"https://{host}:{port}/hook"
    for text in INNER_V6:
        yield f"https://[{text}]:{port}/hook"
        yield f"https://[{text}%25eth0]/hook"


def _clothings(address: IPv4Address) -> Iterator[str]:
    a, b, c, d = address.packed
    number = int(address)
    yield f"{a}.{b}.{c}.{d}"
    yield f"{a}.{b}.{c}.{d}."
    yield str(number)
    yield f"{number:#x}"
    yield f"0{number:o}"
    yield f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:03d}.{b:03d}.{c:03d}.{d:03d}"
    yield f"{a}.{number & 0xFFFFFF}"
    yield f"{a}.{b}.{number & 0xFFFF}"
    yield f"{a}.{b:#x}.0{c:o}.{d}"
    yield f"{a + 256}.{b}.{c}.{d}"
    yield f"{a}%2e{b}%2e{c}%2e{d}"
    yield "".join(f"%{ord(letter):02x}" for letter in f"{a}.{b}.{c}.{d}")
    yield f"{a}。{b}。{c}。{d}"
    yield f"{a}.{b}.{c}.{d}".translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    yield f"[::ffff:{a}.{b}.{c}.{d}]"
    yield f"[::ffff:{a * 256 + b:x}:{c * 256 + d:x}]"
    yield f"[::{a * 256 + b:x}:{c * 256 + d:x}]"
    yield f"[64:ff9b::{a * 256 + b:x}:{c * 256 + d:x}]"
    yield f"[2002:{a * 256 + b:x}:{c * 256 + d:x}::1]"


def _names(port: int) -> Iterator[str]:
    for name in INNER_NAMES:
        yield f"https://{name}:{port}/hook"
        yield f"https://{name}/hook"


def _syntax(port: int) -> Iterator[str]:
    inner = f"127.0.0.1:{port}"
    for scheme in ("http", "HTTP", "ftp", "file", "gopher", "dict", "ldap", "jar", "data", "javascript", "ws", "unix"):
        yield f"{scheme}://{inner}/"
        yield f"{scheme}://hooks.example.com/"
    for userinfo in ("hooks.example.com", "a:b", "hooks.example.com:443", "", "%40"):
        yield f"https://{userinfo}@{inner}/"
        yield f"https://{userinfo}@hooks.example.com/"
    for separator in ("\\", "\t", "\n", "\r", "\0", " ", "#", "%00", "%0a", "%23", "%5c", "\\@", "#@", ";", ",", "&"):
        yield f"https://hooks.example.com{separator}{inner}/"
        yield f"https://{inner}{separator}.example.com/"
    for other_port in ("22", "25", "6379x", "0", "65536", "-1", "99999", "", "443:80", "0443", "+443", " 443", "６"):
        yield f"https://hooks.example.com:{other_port}/"
    yield from (
        "", "https", "https:", "https:/", "https://", "https:///hook", "https:hooks.example.com", "//hooks.example.com",
        "https:/hooks.example.com/", "https:\\\\hooks.example.com\\", "https://?", "https://#", "https://.", "https://..",
        "https://.example.com/", "https://a..example.com/", "https://-a.example.com/", "https://example.com-/",
        "https://[", "https://[]/", "https://[::1", "https://::1/", "https://[::1]x/", "https://[[::1]]/",
        "https://[127.0.0.1]/", "https://[::1]:/", "https://[v1.x]/", "https://[::1.2.3.4]/", "https://[fe80::1%eth0]/",
        "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "https://ⅼocalhost/", "https://loc\u00adalhost/", "https://ｌocalhost/",
        "https://example.com\u2024evil/", "https://example.com／@127.0.0.1/", "https://exa mple.com/",
        "https://hooks.example.com/a b", "https://hooks.example.com/\x7f", "https://hooks.example.com/é",
        "https://hooks.example.com/\r\nHost: inner", " https://hooks.example.com/", "https://hooks.example.com/ ",
        "https://hooks.example.com/#top", f"https://{'a' * 64}.example.com/", f"https://{'a.' * 130}com/",
        f"https://hooks.example.com/{'a' * 2048}", "https://1.2.3.4.5/", "https://1.2.3/", "https://256.1.1.1/",
        "https://0x/", "https://0x7f.1/", "https://a.b.0x1/", "https://0/", "https://1/", "https://127.1/",
    )  # fmt: skip
