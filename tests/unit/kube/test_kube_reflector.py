"""The reflector against a server that fails in every way an API server does."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from klipstream_kube import PODS, Client, Connection, Reflector

PATH = "/api/v1/namespaces/ns/pods"
pytestmark = pytest.mark.usefixtures("quick_retries")

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pod(name: str, version: int, uid: str | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata}


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def error(code: int) -> bytes:
    status = {"kind": "Status", "code": code, "reason": "Scripted", "message": "in band"}
    return event("ERROR", status)


class Scene:
    """Lists and watches have scripts of their own; `story` is what the reflector told."""

    def __init__(self, server) -> None:
        self.server = server
        self.lists: list[Reply] = []
        self.watches: list[Reply] = []
        self.versions: list[str | None] = []  # None for a list, else where a watch began
        self.story: list[str] = []
        self.changed = asyncio.Condition()
        server.on("GET", PATH, self._reply)

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        watching = "watch" in request.query
        self.versions.append(request.query["resourceVersion"] if watching else None)
        script = self.watches if watching else self.lists
        reply = script.pop(0) if len(script) > 1 or watching else script[0]
        return await reply(request)

    def listed(self, version: int, *items: dict[str, Any], token: str | None = None) -> Reply:
        metadata = {"resourceVersion": str(version)} | ({"continue": token} if token else {})
        return self.server.answer({"metadata": metadata, "items": list(items)})

    def watched(self, *chunks: bytes, then: str = "end") -> Reply:
        return self.server.stream(*chunks, then=then)

    def tell(self, what: str) -> Callable[[dict[str, Any]], None]:
        return lambda item: self.story.append(
            f"{what} {item['metadata']['name']} {item['metadata']['uid']} {item['metadata']['resourceVersion']}"
        )

    @asynccontextmanager
    async def running(self, client: Client, **options: Any) -> AsyncIterator[Reflector]:
        self.watches.append(self.watched(then="silent"))
        reflector = Reflector(
            client,
            PODS,
            "ns",
            on_upsert=options.pop("on_upsert", self.tell("upsert")),
            on_delete=self.tell("delete"),
            on_synced=lambda: self.story.append("synced"),
            log=logging.getLogger("reflector"),
            **options,
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_quiet(self) -> None:
        """Until the last scripted watch is open, so that the whole script was played."""
        while self.watches:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)


@pytest.fixture
def scene(server) -> Scene:
    return Scene(server)


async def test_a_complete_list_tells_its_version_and_all_that_it_holds(scene, client) -> None:
    scene.lists = [scene.listed(9, pod("a", 3), token="more"), scene.listed(9, pod("b", 4))]
    told: list[tuple[int, set[str]]] = []
    async with scene.running(client, on_listed=lambda version, uids: told.append((version, uids))) as reflector:
        await reflector.synced.wait()
    assert told == [(9, {"uid-a", "uid-b"})]


async def test_the_list_comes_first_and_the_watch_begins_where_it_ended(scene, client) -> None:
    scene.lists = [scene.listed(9, pod("a", 3), token="more"), scene.listed(9, pod("b", 4))]
    scene.watches = [scene.watched(event("MODIFIED", pod("a", 10)), event("DELETED", pod("b", 11)))]
    async with scene.running(client) as reflector:
        await reflector.synced.wait()
        await scene.until_quiet()
    assert scene.story == [
        "upsert a uid-a 3",
        "upsert b uid-b 4",
        "synced",
        "upsert a uid-a 10",
        "delete b uid-b 11",
    ]
    assert scene.versions == [None, None, "9", "11"]


async def test_items_carry_their_kind(scene, client) -> None:
    kinds: list[tuple[str, str]] = []
    scene.lists = [scene.listed(9, pod("a", 3))]
    async with scene.running(client, on_upsert=lambda item: kinds.append((item["apiVersion"], item["kind"]))):
        await scene.until_quiet()
    assert kinds == [("v1", "Pod")]


async def test_a_dropped_watch_resumes_at_the_last_version_seen(scene, client) -> None:
    scene.lists = [scene.listed(9)]
    scene.watches = [
        scene.watched(event("ADDED", pod("a", 12)), then="reset"),
        scene.watched(bookmark(40)),
        scene.watched(event("ADDED", pod("b", 41)), event("MODIFIED", pod("b", 42))[:-5]),
    ]
    async with scene.running(client):
        await scene.until_quiet()
    assert scene.versions == [None, "9", "12", "40", "41"]
    assert scene.story == ["synced", "upsert a uid-a 12", "upsert b uid-b 41"]


@pytest.mark.parametrize("in_band", [True, False])
async def test_after_gone_what_is_no_longer_listed_is_reported_deleted(scene, client, in_band) -> None:
    scene.lists = [scene.listed(9, pod("a", 3), pod("b", 4)), scene.listed(90, pod("b", 50), pod("c", 60))]
    scene.watches = [scene.watched(error(410)) if in_band else scene.server.refuse(410, "Expired")]
    async with scene.running(client):
        await scene.until_quiet()
    assert scene.versions == [None, "9", None, "90"]
    assert scene.story[3:] == ["upsert b uid-b 50", "upsert c uid-c 60", "delete a uid-a 3", "synced"]


async def test_an_object_created_again_unseen_is_a_deletion_and_a_new_object(scene, client) -> None:
    scene.lists = [scene.listed(9, pod("a", 3, "first")), scene.listed(90, pod("a", 50, "second"))]
    scene.watches = [scene.watched(error(410)), scene.watched(event("ADDED", pod("a", 91, "third")))]
    async with scene.running(client):
        await scene.until_quiet()
    assert scene.story == [
        "upsert a first 3",
        "synced",
        "delete a first 3",
        "upsert a second 50",
        "synced",
        "delete a second 50",
        "upsert a third 91",
    ]


async def test_a_list_compacted_halfway_deletes_nothing_that_lives(scene, client) -> None:
    scene.lists = [
        scene.listed(9, pod("a", 3), pod("b", 4)),
        scene.listed(90, pod("a", 50), token="more"),
        scene.server.refuse(410, "Expired"),
        scene.listed(95, pod("b", 60)),
    ]
    scene.watches = [scene.watched(error(410))]
    async with scene.running(client):
        await scene.until_quiet()
    assert [line for line in scene.story if line.startswith("delete")] == ["delete a uid-a 50"]
    assert scene.story[-1] == "synced"
    assert scene.versions[-1] == "95"


async def test_a_store_that_went_back_is_listed_again(scene, client) -> None:
    scene.lists = [scene.listed(1000, pod("a", 900)), scene.listed(50, pod("a", 40))]
    scene.watches = [scene.watched(bookmark(49))]
    async with scene.running(client):
        await scene.until_quiet()
    assert scene.versions == [None, "1000", None, "50"]
    assert scene.story[-2:] == ["upsert a uid-a 40", "synced"]


@pytest.mark.parametrize("code", [400, 500, 504])
async def test_any_other_error_in_band_lists_anew(scene, client, code) -> None:
    scene.lists = [scene.listed(9, pod("a", 3)), scene.listed(20)]
    scene.watches = [scene.watched(error(code))]
    async with scene.running(client):
        await scene.until_quiet()
    assert scene.versions == [None, "9", None, "20"]
    assert scene.story[-2:] == ["delete a uid-a 3", "synced"]


async def test_a_throttled_watch_waits_as_asked_and_resumes_where_it_was(scene, client, caplog) -> None:
    scene.lists = [scene.listed(9)]
    scene.watches = [scene.server.refuse(429, Retry_After="1")]
    started = time.monotonic()
    async with scene.running(client):
        await scene.until_quiet()
    assert time.monotonic() - started >= 1.0
    assert scene.versions == [None, "9", "9"]
    assert [record.levelname for record in caplog.records if record.name == "reflector"] == []


async def test_endless_throttling_is_a_problem(scene, client) -> None:
    scene.lists = [scene.listed(9)]
    scene.watches = [scene.server.refuse(429) for _ in range(1000)]
    async with scene.running(client) as reflector, asyncio.timeout(10):
        while reflector.problem is None:
            await asyncio.sleep(0.01)
        assert "429" in reflector.problem


async def test_a_deletion_of_an_object_never_shown_is_not_reported(scene, client) -> None:
    scene.lists = [scene.listed(9, pod("a", 3, "new"))]
    scene.watches = [scene.watched(event("DELETED", pod("x", 10)), event("DELETED", pod("a", 11, "old")))]
    async with scene.running(client):
        await scene.until_quiet()
    assert scene.story == ["upsert a new 3", "synced"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (404, "the server does not know pods v1: install the CRDs"),
        (403, 'the role of this account lacks "list" on pods in namespace "ns"'),
        (400, "cannot list pods"),
    ],
)
async def test_a_problem_is_told_once_and_its_end_once(scene, client, caplog, code, says) -> None:
    refused = scene.server.refuse(code, "Scripted")
    scene.lists = [refused, refused, refused, scene.listed(9)]
    seen: list[str | None] = []

    async def watch_problem(request: web.Request) -> web.StreamResponse:
        seen.append(reflector.problem)
        return await refused(request)

    scene.lists[2] = watch_problem
    async with scene.running(client) as reflector:
        await scene.until_quiet()
        assert reflector.problem is None
    assert says in str(seen[0])
    told = [record.levelname for record in caplog.records if record.name == "reflector"]
    assert told == ["ERROR", "WARNING"]


async def test_an_unreachable_server_is_named(unused_tcp_port: int) -> None:
    address = f"http://127.0.0.1:{unused_tcp_port}"
    async with Client(Connection(address)) as client:
        reflector = Reflector(client, PODS, on_upsert=print, on_delete=print, log=logging.getLogger("reflector"))
        task = asyncio.create_task(reflector.run())
        while reflector.problem is None:
            await asyncio.sleep(0.01)
        task.cancel()
    assert address in reflector.problem
    assert not reflector.synced.is_set()


async def test_a_bug_in_a_callback_ends_the_run(scene, client) -> None:
    def broken(_item: dict[str, Any]) -> None:
        raise KeyError("bug")

    scene.lists = [scene.listed(9, pod("a", 3))]
    reflector = Reflector(client, PODS, "ns", on_upsert=broken, on_delete=broken, log=logging.getLogger("reflector"))
    with pytest.raises(KeyError, match="bug"):
        await reflector.run()


async def test_watches_that_end_at_once_are_not_reopened_without_a_pause(scene, client, monkeypatch) -> None:
    monkeypatch.setattr("klipstream_kube.reflector._FIRST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr("klipstream_kube.reflector._LONGEST_WAIT_SECONDS", 10.0)
    scene.lists = [scene.listed(9)]
    scene.watches = [scene.watched() for _ in range(1000)]
    async with scene.running(client):
        await asyncio.sleep(0.5)
    assert len(scene.versions) < 10


async def test_a_server_that_was_away_for_long_is_not_burdened_with_a_new_list(scene, client) -> None:
    scene.lists = [scene.listed(9)]
    scene.watches = [scene.watched(event("ADDED", pod("a", 12))), *(scene.server.drop() for _ in range(12))]
    async with scene.running(client) as reflector:
        await scene.until_quiet()
        assert reflector.problem is None
    assert scene.versions == [None, "9", *["12"] * 13]
