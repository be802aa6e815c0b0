"""What is sent again, what is not, and what a refusal becomes."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from klipstream_kube import (
    JOBS,
    AlreadyExists,
    ApiError,
    Client,
    Conflict,
    Connection,
    Credentials,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)

COLLECTION = "/apis/batch/v1/namespaces/ns/jobs"
ITEM = COLLECTION + "/j"
JOB = {"metadata": {"name": "j", "resourceVersion": "7"}}

WRITES: dict[str, tuple[str, str, Callable[[Client], Awaitable[object]]]] = {
    "create": ("POST", COLLECTION, lambda client: client.create(JOBS, JOB, "ns")),
    "patch": ("PATCH", ITEM, lambda client: client.patch(JOBS, "j", "ns", JOB)),
    "apply": ("PATCH", ITEM, lambda client: client.apply(JOBS, JOB, field_manager="us", namespace="ns")),
    "delete": ("DELETE", ITEM, lambda client: client.delete(JOBS, "j", "ns")),
}


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", ApiError),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (500, "InternalError", ApiError),
    ],
)
async def test_a_refusal_is_the_error_of_its_code(server, client, code, reason, kind) -> None:
    server.on("POST", COLLECTION, server.refuse(code, reason, "what the server says"))
    with pytest.raises(ApiError) as caught:
        await client.create(JOBS, JOB, "ns")
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.reason, error.message) == (code, reason, "what the server says")


async def test_a_proxys_page_is_an_error_with_its_text(server, client) -> None:
    server.on("POST", COLLECTION, server.text("<h1>Bad Gateway</h1>", 502))
    with pytest.raises(ApiError, match="<h1>Bad Gateway</h1>") as caught:
        await client.create(JOBS, JOB, "ns")
    assert caught.value.status == 502


@pytest.mark.usefixtures("quick_retries")
async def test_a_read_outlives_faults_that_pass(server, client) -> None:
    faults = [server.refuse(500), server.drop(), server.refuse(503), server.refuse(429)]
    server.on("GET", ITEM, *faults, server.answer(JOB))
    assert await client.get(JOBS, "j", "ns") == JOB
    assert len(server.sent("GET")) == 5


@pytest.mark.usefixtures("quick_retries")
async def test_a_read_gives_up_in_the_end(server, client) -> None:
    server.on("GET", ITEM, server.refuse(500))
    with pytest.raises(ApiError):
        await client.get(JOBS, "j", "ns")
    assert len(server.sent("GET")) == 6


@pytest.mark.parametrize("code", [400, 403, 404, 410, 422])
async def test_a_read_is_not_repeated_when_the_answer_would_be_the_same(server, client, code) -> None:
    server.on("GET", ITEM, server.refuse(code))
    with pytest.raises(ApiError):
        await client.get(JOBS, "j", "ns")
    assert len(server.sent("GET")) == 1


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_whose_answer_is_lost_is_not_sent_again(server, client, write) -> None:
    method, path, send = WRITES[write]
    server.on(method, path, server.drop())
    with pytest.raises(Unreachable, match=server.url):
        await send(client)
    assert len(server.sent(method)) == 1


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("code", [409, 422, 500, 503])
async def test_a_refused_write_is_not_sent_again(server, client, write, code) -> None:
    method, path, send = WRITES[write]
    server.on(method, path, server.refuse(code))
    with pytest.raises(ApiError):
        await send(client)
    assert len(server.sent(method)) == 1


@pytest.mark.parametrize("write", WRITES)
async def test_a_throttled_write_waits_as_long_as_asked_and_is_sent_again(server, client, write) -> None:
    method, path, send = WRITES[write]
    server.on(method, path, server.refuse(429, Retry_After="1"), server.answer(JOB))
    started = time.monotonic()
    await send(client)
    assert time.monotonic() - started >= 1.0
    assert len(server.sent(method)) == 2


async def test_only_a_guarded_write_follows_the_retry_after_of_a_503(server, client) -> None:
    server.on("POST", COLLECTION, server.refuse(503, Retry_After="1"))
    with pytest.raises(ApiError) as caught:
        await client.create(JOBS, JOB, "ns")
    assert caught.value.retry_after_seconds == 1.0
    server.on("PATCH", ITEM, server.refuse(503, Retry_After="1"), server.answer(JOB))
    assert await client.patch(JOBS, "j", "ns", JOB) == JOB
    assert (len(server.sent("POST")), len(server.sent("PATCH"))) == (1, 2)


@pytest.mark.usefixtures("quick_retries")
async def test_a_create_that_may_be_repeated_is(server, client) -> None:
    server.on("POST", COLLECTION, server.drop(), server.refuse(500), server.refuse(409, "AlreadyExists"))
    with pytest.raises(AlreadyExists):
        await client.create(JOBS, JOB, "ns", retry=True)
    assert len(server.sent("POST")) == 3


@pytest.mark.usefixtures("quick_retries")
async def test_endless_throttling_ends_in_an_error(server, client) -> None:
    server.on("POST", COLLECTION, server.refuse(429))
    with pytest.raises(TooManyRequests):
        await client.create(JOBS, JOB, "ns")
    assert len(server.sent("POST")) == 6


async def test_an_answer_cut_off_in_the_middle_leaves_the_outcome_unknown(server, client) -> None:
    server.on("POST", COLLECTION, server.stream(b'{"metadata": {"na', then="reset"))
    with pytest.raises(Unreachable):
        await client.create(JOBS, JOB, "ns")
    server.on("PATCH", ITEM, server.text('{"metadata": {"na'))
    with pytest.raises(Unreachable):
        await client.patch(JOBS, "j", "ns", JOB)


@pytest.mark.usefixtures("quick_retries")
async def test_a_refused_connection_names_the_server(unused_tcp_port: int) -> None:
    async with Client(Connection(f"http://127.0.0.1:{unused_tcp_port}")) as client:
        with pytest.raises(Unreachable, match=f"127.0.0.1:{unused_tcp_port}"):
            await client.get(JOBS, "j", "ns")


async def test_a_server_that_never_answers_is_unreachable(server) -> None:
    server.on("POST", COLLECTION, server.stream(b"{", then="silent"))
    async with Client(Connection(server.url), request_timeout_seconds=0.2) as client:
        with pytest.raises(Unreachable):
            await client.create(JOBS, JOB, "ns")


async def test_the_fence_is_asked_before_every_send(server, client) -> None:
    server.on("POST", COLLECTION, server.refuse(429, Retry_After="1"), server.answer(JOB))
    asked: list[int] = []
    await client.create(JOBS, JOB, "ns", before_send=lambda: asked.append(len(server.received)))
    assert asked == [0, 1]


@pytest.mark.parametrize("raised", [RuntimeError, TimeoutError])
async def test_what_the_fence_refuses_is_never_sent(server, client, raised) -> None:
    def fence() -> None:
        raise raised("too late")

    with pytest.raises((raised, Unreachable), match="too late"):
        await client.create(JOBS, JOB, "ns", before_send=fence)
    with pytest.raises((raised, Unreachable), match="too late"):
        await client.patch(JOBS, "j", "ns", JOB, before_send=fence)
    assert server.received == []


async def test_the_fence_is_asked_after_the_wait_for_a_connection(server) -> None:
    """A check before that wait would pass, and the write go out long after the lease has ended."""
    release = asyncio.Event()

    async def slow(_request):
        await release.wait()
        return await server.answer(JOB)(_request)

    server.on("GET", ITEM, slow)
    server.on("POST", COLLECTION, server.answer(JOB))
    asked: list[bool] = []
    async with Client(Connection(server.url), max_connections=1) as client:
        reading = asyncio.create_task(client.get(JOBS, "j", "ns"))
        while not server.received:
            await asyncio.sleep(0.01)
        creating = asyncio.create_task(
            client.create(JOBS, JOB, "ns", before_send=lambda: asked.append(release.is_set()))
        )
        await asyncio.sleep(0.1)
        release.set()
        await asyncio.gather(reading, creating)
    assert asked == [True]


async def test_a_rotated_token_is_fetched_when_the_server_refuses_the_old_one(server) -> None:
    tokens = iter(["Bearer old", "Bearer new"])
    server.on("POST", COLLECTION, server.refuse(401), server.answer(JOB))
    async with Client(Connection(server.url, credentials=Credentials(lambda _refused: next(tokens)))) as client:
        await client.create(JOBS, JOB, "ns")
    assert [each.headers["Authorization"] for each in server.sent("POST")] == ["Bearer old", "Bearer new"]


async def test_every_exchange_is_counted(server, client) -> None:
    seen: list[tuple[str, str, int]] = []
    client.on_request = lambda verb, resource, status, seconds: seen.append((verb, resource, status))
    server.on("POST", COLLECTION, server.refuse(409), server.drop())
    server.on("PATCH", ITEM, server.answer(JOB))
    for _ in range(2):
        with pytest.raises((ApiError, Unreachable)):
            await client.create(JOBS, JOB, "ns")
    await client.patch(JOBS, "j", "ns", JOB)
    await client.apply(JOBS, JOB, field_manager="us", namespace="ns")
    assert seen == [
        ("create", "jobs.batch", 409),
        ("create", "jobs.batch", 0),
        ("patch", "jobs.batch", 200),
        ("apply", "jobs.batch", 200),
    ]


async def test_the_clock_follows_the_servers_date(server, client) -> None:
    server.on("GET", ITEM, server.answer(JOB, Date="Fri, 01 Jan 2100 00:00:00 GMT"))
    await client.get(JOBS, "j", "ns")
    assert client.now().year == 2100
    assert client.server_offset_seconds > 86400 * 365


async def test_a_closed_client_opens_nothing_again(server, client) -> None:
    await client.close()
    with pytest.raises(Unreachable, match="closed"):
        await client.create(JOBS, JOB, "ns")
    assert server.received == []


async def test_a_write_under_way_goes_on_when_its_caller_is_cancelled_and_is_waited_for(server, client) -> None:
    sent, answering = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> web.Response:
        sent.set()
        await answering.wait()
        return web.json_response({"metadata": {}})

    server.on("PATCH", ITEM, slow)
    caller = asyncio.create_task(client.patch(JOBS, "j", "ns", JOB))
    await sent.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not await client.writes_are_answered(0.05)
    asyncio.get_running_loop().call_later(0.05, answering.set)
    assert await client.writes_are_answered(5)
    assert await client.writes_are_answered(0), "nothing is on its way any more"


async def test_a_cancelled_write_that_fails_afterwards_disturbs_nobody(server, client) -> None:
    sent, answering = asyncio.Event(), asyncio.Event()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def refused(_: Any) -> web.Response:
        sent.set()
        await answering.wait()
        return web.json_response({"kind": "Status", "code": 409, "reason": "Conflict"}, status=409)

    server.on("PATCH", ITEM, refused)
    caller = asyncio.create_task(client.patch(JOBS, "j", "ns", JOB))
    await sent.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    answering.set()
    assert await client.writes_are_answered(5)
    gc.collect()
    assert complaints == []


async def test_silence_is_counted_from_the_last_answer_whatever_it_said(server, client) -> None:
    server.on("GET", ITEM, server.refuse(404, "NotFound"))
    await asyncio.sleep(0.05)
    assert client.silent_seconds() >= 0.05
    asked = time.monotonic()
    with pytest.raises(NotFound):
        await client.get(JOBS, "j", "ns")
    assert client.silent_seconds() <= time.monotonic() - asked
