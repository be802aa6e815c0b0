from __future__ import annotations

import json

import pytest

from klipstream_kube import PODS, ApiError, Client, Gone, Unreachable

PATH = "/api/v1/namespaces/ns/pods"


def event(kind: str, version: int, **fields: object) -> bytes:
    item = {"metadata": {"name": "p", "resourceVersion": str(version)}, **fields}
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def in_band(code: int, reason: str) -> bytes:
    status = {"kind": "Status", "code": code, "reason": reason, "message": "in band"}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


async def collect(client: Client, **options: float) -> list[tuple[str, str]]:
    stream = client.watch(PODS, "ns", resource_version="5", **options)
    return [(kind, item["metadata"]["resourceVersion"]) async for kind, item in stream]


async def test_a_watch_yields_every_event_and_ends_when_the_server_ends_it(server, client) -> None:
    lines = [event("ADDED", 6), event("MODIFIED", 7), event("BOOKMARK", 9), event("DELETED", 10)]
    server.on("GET", PATH, server.stream(*lines))
    assert await collect(client) == [("ADDED", "6"), ("MODIFIED", "7"), ("BOOKMARK", "9"), ("DELETED", "10")]
    assert server.received[0].query == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "300",
    }


@pytest.mark.parametrize("size", [1, 7, 60, 1000])
async def test_lines_may_be_torn_anywhere(server, client, size) -> None:
    stream = event("ADDED", 6, note="a\u2028b\u00e9\r") + event("MODIFIED", 7) + event("DELETED", 8)
    server.on("GET", PATH, server.stream(*(stream[at : at + size] for at in range(0, len(stream), size))))
    assert await collect(client) == [("ADDED", "6"), ("MODIFIED", "7"), ("DELETED", "8")]


async def test_an_object_may_be_as_large_as_etcd_takes(server, client) -> None:
    large = event("ADDED", 6, blob="x" * (3 * 2**20))
    server.on("GET", PATH, server.stream(large, event("MODIFIED", 7)))
    assert await collect(client) == [("ADDED", "6"), ("MODIFIED", "7")]


async def test_a_line_cut_off_with_the_connection_is_no_event(server, client) -> None:
    server.on("GET", PATH, server.stream(event("ADDED", 6), event("MODIFIED", 7)[:-9]))
    assert await collect(client) == [("ADDED", "6")]


@pytest.mark.parametrize(("code", "reason", "kind"), [(410, "Expired", Gone), (500, "InternalError", ApiError)])
async def test_an_error_in_band_is_the_error_of_its_code(server, client, code, reason, kind) -> None:
    server.on("GET", PATH, server.stream(event("ADDED", 6), in_band(code, reason)))
    with pytest.raises(kind, match="in band") as caught:
        await collect(client)
    assert caught.value.status == code


@pytest.mark.parametrize("line", [b"{torn\n", b"[]\n", b'{"type": "ADDED"}\n'])
async def test_a_line_that_is_no_event_ends_the_watch(server, client, line) -> None:
    server.on("GET", PATH, server.stream(line, event("ADDED", 6)))
    with pytest.raises(Unreachable, match="no event"):
        await collect(client)


async def test_a_silent_connection_is_given_up(server, client) -> None:
    server.on("GET", PATH, server.stream(event("ADDED", 6), then="silent"))
    with pytest.raises(Unreachable):
        await collect(client, idle_seconds=0.3)


async def test_a_lost_connection_is_not_an_end(server, client) -> None:
    server.on("GET", PATH, server.stream(event("ADDED", 6), then="reset"))
    with pytest.raises(Unreachable):
        await collect(client)


@pytest.mark.parametrize(("code", "kind"), [(410, Gone), (500, ApiError)])
async def test_a_refused_watch_is_not_retried_here(server, client, code, kind) -> None:
    server.on("GET", PATH, server.refuse(code))
    with pytest.raises(kind):
        await collect(client)
    assert len(server.received) == 1
