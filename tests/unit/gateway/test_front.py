"""A replica as callers see it over HTTP, its API server being away."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from klipfake.processes import free_port
from klipstream_gateway.keys import new_key
from klipstream_gateway.routes import Scope
from klipstream_gateway.runtime import Runtime
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection

Replica = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]
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


async def test_wrong_credentials_of_others_at_an_address_shut_out_no_valid_key(replica: Replica, key) -> None:
    async with replica() as caller:
        codes = [(await caller.get("/api/v1/jobs", headers=WRONG)).status_code for _ in range(32)]
        assert codes == [401] * 30 + [429] * 2
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
