"""The dashboard's own answers over HTTP, with an API server that is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from klipgate.served import Served, served
from klipstream_gateway.dashboard.pages import Page, Pages
from klipstream_gateway.dashboard.sessions import COOKIE, SECURE_COOKIE, Sessions
from klipstream_gateway.routes import Scope

LONG = 60.0
EVERY_KIND = "/dashboard/jobs?video_id=a*b:c@d,e!(f)~g;h'$&status=queued"


async def first_event(gateway: Served, page: str) -> tuple[int, str]:
    """Status and first event of a live page."""
    async with asyncio.timeout(LONG), gateway.session.get("/dashboard/live", params={"page": page}) as answer:
        if answer.status != 200:
            return answer.status, ""
        return 200, (await answer.content.readuntil(b"\n\n")).decode()


async def test_a_live_page_stays_the_page_that_it_is(tmp_path):
    async with served(tmp_path) as gateway:
        gateway.queue()
        for page in ("/dashboard/jobs", EVERY_KIND, "/dashboard/queues/default?q=https://example.com/v"):
            status, event = await first_event(gateway, page)
            assert status == 200, page
            assert event.startswith("event: view")
            assert "Success rate" not in event, f"{page} became the overview"


@pytest.mark.parametrize("page", ["/dashboard/\\x", "//elsewhere.example", "/docs", "/dashboard//x", ""])
async def test_what_is_no_page_is_refused_and_not_made_into_another(tmp_path, page):
    async with served(tmp_path) as gateway:
        assert (await first_event(gateway, page))[0] == 404


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded; charset=none-such", b"credential=a"),
        ("application/x-www-form-urlencoded; charset=utf-8", b"credential=\xff\xfe"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n"
         b"Content-Type: text/plain; charset=none-such\r\n\r\na\r\n--x--\r\n"),
    ],
    ids=["charset", "bytes", "no-boundary", "another-boundary", "charset-of-a-part"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/dashboard/sign-in", "/dashboard/submit"])
async def test_a_form_that_is_none_is_the_callers_fault(tmp_path, path, kind, body):
    async with served(tmp_path) as gateway:
        headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin"}
        async with gateway.session.post(path, data=body, headers=headers) as answer:
            assert answer.status == 400
            assert "<h1" in await answer.text()


async def test_a_form_that_never_arrives_is_not_waited_for(tmp_path):
    async def slowly() -> AsyncIterator[bytes]:
        yield b"credential="
        await asyncio.sleep(LONG)

    async with served(tmp_path, REQUEST_SECONDS="1") as gateway, asyncio.timeout(LONG / 2):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        async with gateway.session.post("/dashboard/sign-in", data=slowly(), headers=headers) as answer:
            assert answer.status == 400


async def test_an_error_of_ours_is_counted_and_told_as_one(tmp_path, monkeypatch):
    async def broken(*_: object) -> Page:
        raise RuntimeError("a secret of the gateway")

    monkeypatch.setattr(Pages, "at", broken)
    async with served(tmp_path) as gateway:
        for headers in ({}, {"HX-Request": "true"}):
            async with gateway.session.get("/dashboard", headers=headers) as answer:
                assert answer.status == 500
                assert "secret" not in await answer.text()
        labels = {"operation": "dashboard-page", "status": "500"}
        assert gateway.metrics.registry.get_sample_value("klipstream_gateway_requests_total", labels) == 2


async def test_over_https_only_the_cookie_that_is_bound_to_the_host_counts(tmp_path):
    async with served(tmp_path) as gateway:
        cookie = Sessions(tmp_path).make(gateway.key(Scope.READ))
        for name, proto, signed_in in [
            (COOKIE, "http", True), (COOKIE, "https", False), (SECURE_COOKIE, "https", True),
            (SECURE_COOKIE, "http", False),
        ]:  # fmt: skip
            headers = {"Cookie": f"{name}={cookie}", "X-Forwarded-Proto": proto}
            async with gateway.session.get("/dashboard", headers=headers) as answer:
                assert ("Sign out" in await answer.text()) == signed_in, (name, proto)


async def test_wrong_credentials_of_others_at_an_address_keep_nobody_with_a_key_from_signing_in(tmp_path):
    async with served(tmp_path) as gateway:

        async def sign_in(credential: str) -> int:
            form = {"credential": credential, "next": "/dashboard"}
            headers = {"Sec-Fetch-Site": "same-origin"}
            async with gateway.session.post(
                "/dashboard/sign-in", data=form, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status

        key = gateway.key(Scope.READ)
        guesses = (sign_in(f"klip_{number:012x}_{'x' * 43}") for number in range(60))
        assert set(await asyncio.gather(*guesses)) == {401, 429}
        assert await sign_in(key) == 303
