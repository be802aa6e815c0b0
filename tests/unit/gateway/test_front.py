"""A replica as callers see it over HTTP, its API server being away."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from klipfake.ports import free_port
from klipstream_gateway.access import Access
from klipstream_gateway.http import Front
from klipstream_gateway.keys import KeyFolder, new_key
from klipstream_gateway.metrics import Metrics
from klipstream_gateway.rates import RateLimiter
from klipstream_gateway.routes import Answer, Call, Route, Scope
from klipstream_gateway.runtime import Runtime
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection

Replica = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]
JSON = {"Content-Type": "application/json"}
WRONG = {"Authorization": f"Bearer klip_{0:012x}_{'x' * 43}"}


@pytest.fixture
def key(tmp_path: Path) -> dict[str, str]:
    """Valid credentials that may read and submit."""
    key, stored = new_key("reader", (Scope.READ, Scope.SUBMIT), None, None, datetime.now(UTC))
    (tmp_path / f"{stored.id}.json").write_text(stored.model_dump_json())
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    @contextlib.asynccontextmanager
    async def serving(**environment: str) -> AsyncIterator[httpx.AsyncClient]:
        url = f"http://127.0.0.1:{(port := free_port())}"
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0",
                    "KEYS_FOLDER": str(tmp_path)} | environment  # fmt: skip
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            server = f"http://127.0.0.1:{unused.getsockname()[1]}"
            async with Client(Connection(server)) as client:
                named = {f"KLIPSTREAM_{name}": each for name, each in settings.items()}
                runtime = Runtime(Settings.from_environment("default", named), client)
                running = asyncio.create_task(runtime.run())
                try:
                    async with httpx.AsyncClient(base_url=url, timeout=60, verify=False) as caller:
                        async with asyncio.timeout(60):
                            while not await _answers(caller):
                                assert not running.done()
                                await asyncio.sleep(0.05)
                        yield caller
                finally:
                    runtime.stop()
                    await running

    return serving


async def _answers(caller: httpx.AsyncClient) -> bool:
    try:
        return (await caller.get("/healthz")).is_success
    except httpx.TransportError:
        return False


async def codes_of(requests: Iterable[Awaitable[httpx.Response]]) -> set[int]:
    """All at once, so that they fall into one minute on the slowest machine."""
    return {answer.status_code for answer in await asyncio.gather(*requests)}


async def test_wrong_credentials_of_others_at_an_address_shut_out_no_valid_key(replica: Replica, key) -> None:
    async with replica() as caller:
        assert await codes_of(caller.get("/api/v1/jobs", headers=WRONG) for _ in range(60)) == {401, 429}
        assert (await caller.get("/api/v1/jobs", headers=key)).status_code == 200
        assert (await caller.get("/api/v1/queues")).status_code == 200
        unknown = {"Authorization": "Bearer a-kubernetes-token"}
        assert (await caller.get("/api/v1/jobs", headers=unknown)).status_code == 429, "the API server is not asked"


async def test_a_proxys_own_credentials_are_none_where_none_are_needed(replica: Replica) -> None:
    basic = {"Authorization": "Basic dXNlcjp3b3Jk"}
    async with replica() as caller:
        for _ in range(32):
            assert (await caller.get("/api/v1/queues", headers=basic)).status_code == 200
        assert (await caller.get("/api/v1/jobs", headers=basic)).status_code == 401


async def test_pages_of_an_allowed_origin_may_read_answers_and_streams(replica: Replica, key) -> None:
    page, other = {"Origin": "https://app.example.com"}, {"Origin": "https://evil.example.com"}
    async with replica(ALLOWED_ORIGINS="https://app.example.com") as caller:
        for path in ("/api/v1/queues", "/api/v1/no-such-path", "/api/v1/events", "/dashboard"):
            for sent, allowed in ((page, "https://app.example.com"), (other, None)):
                async with caller.stream("GET", path, headers=key | sent) as answer:
                    assert answer.headers.get("Access-Control-Allow-Origin") == allowed, path
                    assert "Origin" in answer.headers["Vary"].split(", ")
                    if allowed is not None:
                        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
                        assert {"Location", "Idempotency-Replayed", "RateLimit"} <= set(exposed)
        asked = page | {"Access-Control-Request-Method": "POST"}
        preflight = await caller.options("/api/v1/analysis", headers=asked)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, page["Origin"])


async def test_addresses_of_one_ipv6_network_share_a_limit(replica: Replica) -> None:
    async with replica(TRUSTED_PROXIES="127.0.0.1/32", RATE_STATUS="3") as caller:

        def get(path: str, address: str, **headers: str) -> Awaitable[httpx.Response]:
            return caller.get(path, headers={"X-Forwarded-For": address} | headers)

        assert await codes_of(get("/api/v1/queues", f"2001:db8:1:2::{number}") for number in range(1, 9)) == {200, 429}
        assert (await get("/api/v1/queues", "2001:db8:1:3::1")).status_code == 200
        wrong = (get("/api/v1/jobs", f"2001:db8:1:4::{number:x}", **WRONG) for number in range(1, 61))
        assert await codes_of(wrong) == {401, 429}


async def test_a_batch_of_a_hundred_large_submissions_is_taken_in_and_no_other_body_is_as_large(
    replica: Replica, key
) -> None:
    texts = {f"name-{number}": "x" * 1100 for number in range(10)}
    large = {"video_url": "https://example.com/v?" + "y" * 2000, "params": texts, "metadata": {"a": "z" * 4000}}
    async with replica() as caller:
        batch = await caller.post("/api/v1/analysis/batch", json={"jobs": [large] * 100}, headers=key)
        assert batch.status_code == 200, batch.text
        codes = {each["problem"]["code"] for each in batch.json()["results"]}
        assert codes == {"queue-not-found"}, "each was looked at"
        one = await caller.post("/api/v1/analysis", json=large | {"reference": "r" * 70_000}, headers=key)
        many = await caller.post("/api/v1/analysis/batch", content=b" " * 4_300_000, headers=key | JSON)
        for answer, limit in ((one, 65_536), (many, 4_194_304)):
            assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
            assert str(limit) in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{}", b" null "])
async def test_a_body_that_says_nothing_is_nothing(replica: Replica, key, body: bytes) -> None:
    async with replica() as caller:
        answer = await caller.post("/api/v1/jobs/none/cancel", content=body, headers=key | JSON)
        assert answer.status_code != 400


async def test_a_body_that_would_be_ignored_is_refused(replica: Replica, key) -> None:
    """Meant for one queue, and otherwise done to all."""
    async with replica() as caller:
        for body in (b'{"queue": "mine"}', b"x", b" " * 100_000):
            answer = await caller.post("/api/v1/jobs/none/cancel", content=body, headers=key | JSON)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
            assert "?queue=NAME" in answer.json()["detail"]


async def test_a_change_whose_caller_left_stands_in_the_audit_log(
    tmp_path: Path, key, caplog: pytest.LogCaptureFixture
) -> None:
    """What was asked for may have been done all the same."""
    caplog.set_level("INFO", "klipstream_gateway.audit")
    begun = asyncio.Event()

    async def act(_: Call) -> Answer:
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")

    settings = Settings.from_environment("default", {"KLIPSTREAM_KEYS_FOLDER": str(tmp_path)})
    front = Front(
        settings, Access(KeyFolder(tmp_path), None), RateLimiter(settings.rates, settings.rate_storage), Metrics()
    )
    route = Route("POST", "/act", "act", "queue", "Act", act, {200: None}, None, Scope.SUBMIT, audited=True)
    runner = web.AppRunner(front.application([route]), handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as caller:
            asking = asyncio.create_task(caller.post("/act", headers=key))
            async with asyncio.timeout(60):
                await begun.wait()
            asking.cancel()
        async with asyncio.timeout(60):
            while not caplog.records:
                await asyncio.sleep(0.01)
    finally:
        await runner.cleanup()
    (line,) = [json.loads(record.getMessage()) for record in caplog.records]
    assert (line["who"], line["operation"]) == ("key:reader", "act")
    assert (line["status"], line["problem"]) == (499, "caller-left")
