"""One attempt to deliver, against real servers on loopback."""

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks.webhooks import Webhook

from klipcluster.pki import make_pki
from klipfake.ports import free_port
from kliphostile.answers import ODD, WELL_FORMED, mutated, raw_server
from kliphostile.name_server import name_server
from kliphostile.urls import CLUSTER_NETWORKS, LEADING_INSIDE, hostile_urls, zone
from klipstream_netguard import PlainHttp, Rules
from klipstream_relay.sender import (
    DRAINED_BYTES,
    Credentials,
    CredentialsRefused,
    Outcome,
    Sendable,
    Sender,
    retry_after_seconds,
)
from klipstream_relay.signing import new_secret, parse_secrets

ON_LOOPBACK = Rules.of(allowed_networks=["127.0.0.1/32"], plain_http=PlainHttp.LISTED)


@dataclass(frozen=True)
class Sent:
    url: str
    id: str = "msg_1"
    endpoint: str = "queue/ns/default/shop"
    namespace: str = "ns"
    job_uid: str = "uid"
    body: bytes = b'{"job_id":"a"}'


async def unsigned(_: Sendable) -> Credentials:
    return Credentials()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def receiver(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}/hook"


async def attempt(url: str, rules: Rules = ON_LOOPBACK, **options: object) -> Outcome:
    async with Sender(rules, unsigned, **options) as sender:  # type: ignore[arg-type]
        return await sender.send(Sent(url))


# --- what arrives ------------------------------------------------------------------------------------------------


async def test_a_delivery_arrives_signed_and_authorised() -> None:
    secret = new_secret()
    seen: list[tuple[dict[str, str], bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    async def credentials(_: Sendable) -> Credentials:
        return Credentials(parse_secrets(secret), "opaque-token")

    async with receiver(handler) as url, Sender(ON_LOOPBACK, credentials) as sender:
        outcome = await sender.send(Sent(url + "?a=%2F&b[]=c"))
    assert (outcome.delivered, outcome.code, outcome.reason) == (True, 204, "Delivered")
    assert 0 < outcome.seconds < 10
    ((headers, body),) = seen
    assert Webhook(secret).verify(body, headers) == {"job_id": "a"}
    assert headers["Authorization"] == "Bearer opaque-token"
    assert headers["Content-Type"] == "application/json"
    assert "opaque-token" not in repr(outcome) + repr(await credentials(Sent(url)))


async def test_a_second_attempt_keeps_its_id_and_takes_a_new_time() -> None:
    seen: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.headers["webhook-id"], request.headers["webhook-timestamp"]))
        return web.Response()

    times = iter([1000.0, 1000.0, 2000.0, 2000.0])
    async with receiver(handler) as url, Sender(ON_LOOPBACK, unsigned, now=lambda: next(times)) as sender:
        await sender.send(Sent(url))
        await sender.send(Sent(url))
    assert seen == [("msg_1", "1000"), ("msg_1", "2000")]


async def test_a_connection_is_used_again() -> None:
    peers = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="thanks " * 100)

    async with receiver(handler) as url, Sender(ON_LOOPBACK, unsigned) as sender:
        for _ in range(5):
            assert (await sender.send(Sent(url))).delivered
    assert len(peers) == 1


@pytest.mark.parametrize(
    ("code", "reason", "disable", "retryable"),
    [
        (200, "Delivered", False, False),
        (202, "Delivered", False, False),
        (301, "Redirect", False, True),
        (308, "Redirect", False, True),
        (304, "Redirect", False, True),
        (400, "ClientError", False, True),
        (401, "Unauthorized", False, True),
        (404, "ClientError", False, True),
        (410, "Gone", True, False),
        (429, "TooManyRequests", False, True),
        (500, "ServerError", False, True),
        (503, "ServerError", False, True),
        (600, "BadAnswer", False, True),
    ],
)
async def test_what_a_status_means(code: int, reason: str, disable: bool, retryable: bool) -> None:
    async with raw_server() as raw:
        raw.answer = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % code
        outcome = await attempt(f"http://127.0.0.1:{raw.port}/")
    assert (outcome.code, outcome.reason, outcome.disable, outcome.retryable) == (code, reason, disable, retryable)
    assert outcome.delivered is (200 <= code < 300)


async def test_a_redirect_is_not_followed() -> None:
    async with raw_server() as inner, raw_server() as raw:
        for code in (301, 302, 303, 307, 308):
            raw.answer = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % (
                code, inner.port,
            )  # fmt: skip
            assert (await attempt(f"http://127.0.0.1:{raw.port}/")).reason == "Redirect"
        assert inner.connections == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("99999999999999999999", 86_400.0), ("-5", None), ("1.5", None),
        ("soon", None), ("", None), ("٣", None),
        ("Thu, 01 Jan 1970 00:17:40 GMT", 60.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0), ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=1000.0) == seconds


async def test_retry_after_is_handed_on() -> None:
    async with raw_server() as raw:
        raw.answer = WELL_FORMED[2]
        assert (await attempt(f"http://127.0.0.1:{raw.port}/")).retry_after_seconds == 7.0


# --- what is kept out --------------------------------------------------------------------------------------------


async def test_no_hostile_url_is_called() -> None:
    async with raw_server() as raw, name_server(zone) as names:
        urls = hostile_urls(raw.port)
        rules = Rules.of(cluster_networks=CLUSTER_NETWORKS)
        async with Sender(rules, unsigned, nameservers=(names.where,)) as sender:
            outcomes = {url: await sender.send(Sent(url)) for url in urls}
        assert len(urls) >= 300
        assert {url: o for url, o in outcomes.items() if o.reason != "UrlRefused" or o.retryable or not o.message} == {}
        assert raw.connections == 0
        assert not names.asked


@pytest.mark.parametrize("name", LEADING_INSIDE)
async def test_a_name_that_leads_inside_is_not_called(name: str) -> None:
    async with raw_server() as raw, name_server(zone) as names:
        rules = Rules.of(cluster_networks=CLUSTER_NETWORKS)
        outcome = await attempt(f"https://{name}:{raw.port}/", rules, nameservers=(names.where,))
        assert (outcome.reason, outcome.retryable) == ("AddressRefused", False)
        assert name in outcome.message
        assert raw.connections == 0


async def test_a_name_server_that_changes_its_mind_gains_nothing() -> None:
    """The name leads to an allowed place the first time it is asked for, and inside the second time."""

    def rebinding(name: str, time: int) -> list[str]:
        return ["127.0.0.2"] if time == 1 else ["127.0.0.1"]

    rules = Rules.of(allowed_networks=["127.0.0.2/32"], allowed_hosts=[], plain_http=PlainHttp.ALWAYS)
    async with (
        raw_server("127.0.0.2", free_port()) as outside,
        raw_server("127.0.0.1", outside.port) as inside,
        name_server(rebinding) as names,
        Sender(rules, unsigned, nameservers=(names.where,)) as sender,
    ):
        url = f"http://hooks.example.com:{outside.port}/"
        assert (await sender.send(Sent(url))).delivered
        assert all(times == 1 for times in names.asked.values())  # once for A, once for AAAA
        second = await sender.send(Sent(url))
        assert second.reason == "AddressRefused"
        assert "127.0.0.1 is loopback" in second.message
        assert (outside.connections, inside.connections) == (1, 0)


async def test_a_name_is_not_looked_up_below_the_search_domains() -> None:
    async with name_server(zone) as names:
        outcome = await attempt("https://kubernetes.default/", Rules(), nameservers=(names.where,))
    assert outcome.reason == "NameNotFound"
    assert {name for name, _ in names.asked} == {"kubernetes.default"}


async def test_silent_name_servers_end_within_the_time_of_an_attempt() -> None:
    async with name_server(zone) as names:
        names.silent = True
        outcome = await attempt("https://hooks.example.com/", Rules(), nameservers=(names.where,), timeout_seconds=0.5)
    assert outcome.reason == "Timeout"


async def test_the_socket_is_the_last_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the judgement of the URL's text let an inner address through."""
    monkeypatch.setattr("klipstream_relay.sender.target_problem", lambda target, rules: None)
    async with raw_server() as raw:
        outcome = await attempt(f"http://127.0.0.1:{raw.port}/", Rules())
        assert outcome.reason == "AddressRefused"
        assert raw.connections == 0


async def test_no_proxy_and_no_netrc_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password opensesame\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with raw_server() as proxy, raw_server() as raw:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await attempt(f"http://127.0.0.1:{raw.port}/")).delivered
        assert proxy.connections == 0
        assert b"authorization" not in raw.requests[0].lower()


async def test_cookies_are_not_sent_back() -> None:
    async with raw_server() as raw:
        raw.answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        async with Sender(ON_LOOPBACK, unsigned) as sender:
            for _ in range(2):
                assert (await sender.send(Sent(f"http://127.0.0.1:{raw.port}/"))).delivered
        assert all(b"cookie" not in request.lower() for request in raw.requests)


async def test_nothing_that_the_endpoint_says_is_repeated() -> None:
    async with raw_server() as raw:
        raw.answer = b"HTTP/1.1 500 root:hunter2\r\nX-Echo: hunter2\r\nContent-Length: 7\r\n\r\nhunter2"
        assert "hunter2" not in repr(await attempt(f"http://127.0.0.1:{raw.port}/"))
        raw.answer = b"HTTP/1.1 hunter2\r\nhunter2\r\n\r\n"
        assert "hunter2" not in repr(await attempt(f"http://127.0.0.1:{raw.port}/"))


# --- what is bounded ---------------------------------------------------------------------------------------------


async def test_a_silent_receiver_is_given_up_in_time() -> None:
    async with raw_server() as raw:
        raw.answer, raw.stays_open = b"", True
        outcome = await attempt(f"http://127.0.0.1:{raw.port}/", timeout_seconds=0.3)
    assert (outcome.reason, outcome.retryable) == ("Timeout", True)


async def test_a_dripping_header_is_given_up_in_time() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await attempt(f"http://127.0.0.1:{port}/", timeout_seconds=0.4)).reason == "Timeout"


async def test_an_endless_answer_costs_neither_memory_nor_the_delivery() -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))
            sent += 65_536

    async with receiver(handler) as url:
        outcome = await attempt(url)
        await asyncio.sleep(0.1)
    assert outcome.delivered, "long before the time of an attempt is over"
    assert sent < 64 * DRAINED_BYTES + (8 << 20)  # what sockets buffer


async def test_a_compressed_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(64 << 20))

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with receiver(handler) as url:
        tracemalloc.start()
        try:
            outcome = await attempt(url)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert outcome.delivered
    assert peak_bytes < 16 << 20


@pytest.mark.parametrize("answer", ODD, ids=range(len(ODD)))
async def test_an_odd_answer_is_a_failure_or_a_success_and_never_an_error(answer: bytes) -> None:
    async with raw_server() as raw:
        raw.answer = answer
        outcome = await attempt(f"http://127.0.0.1:{raw.port}/", timeout_seconds=2)
    assert outcome.reason
    assert outcome.delivered is (outcome.code is not None and 200 <= outcome.code < 300)


async def test_a_thousand_fuzzed_answers_leave_the_sender_as_it_was() -> None:
    async with raw_server() as raw, Sender(ON_LOOPBACK, unsigned, timeout_seconds=2) as sender:
        url = f"http://127.0.0.1:{raw.port}/"
        reasons = set()
        for seed in range(1000):
            raw.answer = mutated(seed)
            outcome = await sender.send(Sent(url))
            reasons.add(outcome.reason)
            assert outcome.delivered is (outcome.code is not None and 200 <= outcome.code < 300), raw.answer
        raw.answer = WELL_FORMED[0]
        assert (await sender.send(Sent(url))).delivered
    assert {"Delivered", "BadAnswer", "Redirect", "ServerError"} <= reasons


async def test_a_connection_that_the_receiver_closed_meanwhile_costs_no_attempt() -> None:
    """The server ends each connection after its answer without announcing it."""
    async with raw_server() as raw, Sender(ON_LOOPBACK, unsigned) as sender:
        for number in range(20):
            outcome = await sender.send(Sent(f"http://127.0.0.1:{raw.port}/"))
            assert outcome.delivered, number


# --- what fails on the way ---------------------------------------------------------------------------------------


async def test_a_closed_port_is_a_failed_connection() -> None:
    async with raw_server() as raw:
        pass
    outcome = await attempt(f"http://127.0.0.1:{raw.port}/")
    assert (outcome.reason, outcome.retryable, outcome.code) == ("ConnectionFailed", True, None)


async def test_credentials_that_cannot_be_had_send_nothing() -> None:
    async def refused(_: Sendable) -> Credentials:
        raise CredentialsRefused("SecretMissing", "there is no Secret ns/shop")

    async with raw_server() as raw, Sender(ON_LOOPBACK, refused) as sender:
        outcome = await sender.send(Sent(f"http://127.0.0.1:{raw.port}/"))
        assert (outcome.reason, outcome.retryable) == ("SecretMissing", True)
        assert raw.connections == 0


@pytest.mark.parametrize(
    ("trusted", "name", "reason"),
    [(True, "hooks.example.com", "Delivered"), (False, "hooks.example.com", "TlsFailed"),
     (True, "other.example.com", "TlsFailed")],
)  # fmt: skip
async def test_a_receiver_must_show_a_trusted_certificate_of_its_name(
    tmp_path: Path, trusted: bool, name: str, reason: str
) -> None:
    make_pki(tmp_path, ["hooks.example.com"], "node", "127.0.0.1")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(tmp_path / "apiserver.crt", tmp_path / "apiserver.key")
    tls = ssl.create_default_context(cafile=tmp_path / "ca.crt") if trusted else None

    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    rules = Rules.of(allowed_networks=["127.0.0.1/32"])
    server = TestServer(app)
    await server.start_server(ssl=server_tls)
    async with name_server(lambda *_: ["127.0.0.1"]) as names:
        outcome = await attempt(f"https://{name}:{server.port}/", rules, tls=tls, nameservers=(names.where,))
    await server.close()
    assert outcome.reason == reason
