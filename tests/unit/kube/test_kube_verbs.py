"""What goes over the wire for each verb."""

from __future__ import annotations

import pytest

from klipstream_kube import JOBS, Gone, NotFound, Unreachable

COLLECTION = "/apis/batch/v1/namespaces/ns/jobs"
ITEM = COLLECTION + "/j"
LOG = "/api/v1/namespaces/ns/pods/p/log"


def page(names: list[str], version: str, token: str | None = None) -> dict:
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return {"metadata": metadata, "items": [{"metadata": {"name": name}} for name in names]}


async def test_a_list_follows_its_pages_and_keeps_its_selectors(server, client) -> None:
    server.on("GET", COLLECTION, server.answer(page(["a", "b"], "9", "more")), server.answer(page(["c"], "9")))
    items, version = await client.list(JOBS, "ns", label_selector="x=y", field_selector="f=g", page_size=2)
    assert [item["metadata"]["name"] for item in items] == ["a", "b", "c"]
    assert version == "9"
    selectors = {"labelSelector": "x=y", "fieldSelector": "f=g", "limit": "2"}
    assert [each.query for each in server.received] == [selectors, selectors | {"continue": "more"}]


async def test_a_list_compacted_between_two_pages_begins_again(server, client) -> None:
    server.on(
        "GET",
        COLLECTION,
        server.answer(page(["a"], "9", "more")),
        server.refuse(410, "Expired"),
        server.answer(page(["b"], "12")),
    )
    items, version = await client.list(JOBS, "ns")
    assert ([item["metadata"]["name"] for item in items], version) == (["b"], "12")


async def test_pages_leave_a_compaction_to_the_caller(server, client) -> None:
    server.on("GET", COLLECTION, server.answer(page(["a"], "9", "more")), server.refuse(410, "Expired"))
    pages = client.list_pages(JOBS, "ns")
    await anext(pages)
    with pytest.raises(Gone):
        await anext(pages)


async def test_a_list_that_is_compacted_each_time_ends_in_gone(server, client) -> None:
    for _ in range(10):
        server.on("GET", COLLECTION, server.answer(page(["a"], "9", "more")), server.refuse(410, "Expired"))
    with pytest.raises(Gone):
        await client.list(JOBS, "ns")


async def test_an_empty_collection_may_be_null(server, client) -> None:
    server.on("GET", COLLECTION, server.answer({"metadata": {"resourceVersion": "3"}, "items": None}))
    assert await client.list(JOBS, "ns") == ([], "3")


@pytest.mark.parametrize(
    ("kind", "content_type", "body"),
    [
        ("merge", "application/merge-patch+json", {"status": {"a": 1}, "metadata": {"resourceVersion": "7"}}),
        ("json", "application/json-patch+json", [{"op": "test", "path": "/a", "value": 1}]),
    ],
)
async def test_a_patch_says_its_kind(server, client, kind, content_type, body) -> None:
    server.on("PATCH", ITEM + "/status", server.answer({}))
    await client.patch_status(JOBS, "j", "ns", body, kind=kind)
    (sent,) = server.received
    assert (sent.headers["Content-Type"], sent.body) == (content_type, body)


@pytest.mark.parametrize("force", [False, True])
async def test_an_apply_names_its_manager(server, client, force) -> None:
    server.on("PATCH", ITEM, server.answer({}))
    body = {"metadata": {"name": "j", "namespace": "ns"}}
    await client.apply(JOBS, body, field_manager="us", force=force)
    (sent,) = server.received
    assert sent.query == {"fieldManager": "us"} | ({"force": "true"} if force else {})
    assert sent.headers["Content-Type"] == "application/apply-patch+yaml"


async def test_a_delete_carries_what_the_decision_read(server, client) -> None:
    server.on("DELETE", ITEM, server.answer({"kind": "Status", "status": "Success"}))
    await client.delete(JOBS, "j", "ns", uid="u", resource_version="7", propagation="Orphan")
    (sent,) = server.received
    assert sent.body["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert sent.body["propagationPolicy"] == "Orphan"


async def test_a_delete_of_nothing_says_so(server, client) -> None:
    server.on("DELETE", ITEM, server.refuse(404, "NotFound"))
    with pytest.raises(NotFound):
        await client.delete(JOBS, "j", "ns")


async def test_a_delete_asks_the_fence_before_it_is_sent(server, client) -> None:
    def fence() -> None:
        raise RuntimeError("the Lease may be over")

    with pytest.raises(RuntimeError):
        await client.delete(JOBS, "j", "ns", before_send=fence)
    assert server.received == []


async def test_a_log_is_streamed_from_its_end(server, client) -> None:
    server.on("GET", LOG, server.stream(b"one\ntw", b"o\n"))
    chunks = [chunk async for chunk in client.log("p", "ns", container="worker", tail_lines=10)]
    assert b"".join(chunks) == b"one\ntwo\n"
    assert server.received[0].query == {"container": "worker", "tailLines": "10"}


@pytest.mark.parametrize("then", ["reset", "silent"])
async def test_a_log_that_is_cut_off_is_no_log(server, client, then) -> None:
    server.on("GET", LOG, server.stream(b"one\n", then=then))
    with pytest.raises(Unreachable):
        async for _ in client.log("p", "ns", container="worker", tail_lines=10, idle_seconds=0.2):
            pass


async def test_the_log_of_no_pod_says_so(server, client) -> None:
    server.on("GET", LOG, server.refuse(404, "NotFound"))
    with pytest.raises(NotFound):
        await anext(client.log("p", "ns", container="worker", tail_lines=10))


async def test_requests_say_who_sends_them(server, client) -> None:
    server.on("GET", ITEM, server.answer({}))
    await client.get(JOBS, "j", "ns")
    assert server.received[0].headers["User-Agent"] == "klipstream"
