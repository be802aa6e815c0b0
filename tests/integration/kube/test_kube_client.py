"""The client against the real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from klipstream_kube import (
    CONFIG_MAPS,
    AlreadyExists,
    ApiError,
    Client,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def create_many(client: Client, namespace: str, count: int) -> None:
    limit = asyncio.Semaphore(20)

    async def one(n: int) -> None:
        async with limit:
            await client.create(CONFIG_MAPS, config_map(f"many-{n:04}"), namespace)

    await asyncio.gather(*(one(n) for n in range(count)))


async def test_pages_are_one_snapshot_of_all_objects(client, namespace) -> None:
    await create_many(client, namespace, 1200)
    sizes: list[int] = []
    names: list[str] = []
    async for page in client.list_pages(CONFIG_MAPS, namespace):
        if not sizes:
            await client.create(CONFIG_MAPS, config_map("zz-later"), namespace)
            await client.delete(CONFIG_MAPS, "many-1199", namespace)
        sizes.append(len(page["items"]))
        names += [item["metadata"]["name"] for item in page["items"] if item["metadata"]["name"] != "kube-root-ca.crt"]
    assert sizes[:2] == [500, 500]
    assert names == [f"many-{n:04}" for n in range(1200)]
    items, _ = await client.list(CONFIG_MAPS, namespace, field_selector="metadata.name=zz-later")
    assert len(items) == 1


async def test_a_watch_shows_every_change_after_the_list(client, namespace) -> None:
    _, version = await client.list(CONFIG_MAPS, namespace)
    await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace)
    await client.patch(CONFIG_MAPS, "a", namespace, {"data": {"x": "2"}})
    await client.delete(CONFIG_MAPS, "a", namespace)
    selector = "metadata.name=a"
    seen = [
        (kind, item["data"]["x"])
        async for kind, item in client.watch(
            CONFIG_MAPS, namespace, resource_version=version, field_selector=selector, timeout_seconds=5
        )
        if kind != "BOOKMARK"
    ]
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


async def test_a_watch_from_a_version_long_gone_is_gone(client, namespace, things) -> None:
    async def watch() -> None:
        async for _ in client.watch(things.resource, namespace, resource_version="1", timeout_seconds=5):
            pass

    async with asyncio.timeout(30):
        while True:
            try:
                await watch()
            except TooManyRequests:  # its cache is still being built
                await asyncio.sleep(0.1)
            except Gone:
                return


async def test_a_patch_on_a_version_that_has_passed_changes_nothing(client, namespace) -> None:
    first = await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace)
    guard = {"resourceVersion": first["metadata"]["resourceVersion"]}
    await client.patch(CONFIG_MAPS, "a", namespace, {"metadata": guard, "data": {"x": "2"}})
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "a", namespace, {"metadata": guard, "data": {"x": "3"}})
    assert (await client.get(CONFIG_MAPS, "a", namespace))["data"] == {"x": "2"}


async def test_a_patch_of_another_object_of_the_name_is_a_conflict(client, namespace) -> None:
    await client.create(CONFIG_MAPS, config_map("a"), namespace)
    other = {"metadata": {"uid": "0b6f5a52-0000-4000-8000-000000000000"}, "data": {"x": "1"}}
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "a", namespace, other)


async def test_a_json_patch_is_guarded_by_its_tests(client, namespace) -> None:
    await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace)

    def change(expected: str, value: str) -> list[dict[str, Any]]:
        return [
            {"op": "test", "path": "/data/x", "value": expected},
            {"op": "replace", "path": "/data/x", "value": value},
        ]

    changed = await client.patch(CONFIG_MAPS, "a", namespace, change("1", "2"), kind="json")
    assert changed["data"] == {"x": "2"}
    with pytest.raises(Invalid):
        await client.patch(CONFIG_MAPS, "a", namespace, change("1", "3"), kind="json")


async def test_of_many_who_create_one_name_exactly_one_succeeds(client, namespace) -> None:
    bodies = [config_map("a", writer=str(n)) for n in range(20)]
    outcomes = await asyncio.gather(
        *(client.create(CONFIG_MAPS, body, namespace) for body in bodies), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert len(winners) == 1
    assert all(isinstance(outcome, AlreadyExists) for outcome in outcomes if outcome not in winners)
    assert (await client.get(CONFIG_MAPS, "a", namespace))["data"] == winners[0]["data"]


async def test_an_apply_owns_its_fields_until_forced(client, namespace) -> None:
    created = await client.apply(CONFIG_MAPS, config_map("a", x="1"), field_manager="one", namespace=namespace)
    assert created["data"] == {"x": "1"}
    with pytest.raises(Conflict, match="one"):
        await client.apply(CONFIG_MAPS, config_map("a", x="2"), field_manager="two", namespace=namespace)
    forced = await client.apply(
        CONFIG_MAPS, config_map("a", x="2"), field_manager="two", namespace=namespace, force=True
    )
    assert forced["data"] == {"x": "2"}


async def test_a_delete_touches_only_the_object_it_was_decided_for(client, namespace) -> None:
    first = await client.create(CONFIG_MAPS, config_map("a"), namespace)
    await client.delete(CONFIG_MAPS, "a", namespace, uid=first["metadata"]["uid"])
    second = await client.create(CONFIG_MAPS, config_map("a"), namespace)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace, uid=first["metadata"]["uid"])
    await client.patch(CONFIG_MAPS, "a", namespace, {"data": {"x": "1"}})
    version = second["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace, resource_version=version)
    await client.delete(CONFIG_MAPS, "a", namespace, uid=second["metadata"]["uid"])
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAPS, "a", namespace)


async def test_a_refused_object_names_its_fields(client, namespace) -> None:
    with pytest.raises(Invalid) as caught:
        await client.create(CONFIG_MAPS, config_map("Not A Name"), namespace)
    assert caught.value.details["causes"][0]["field"] == "metadata.name"


async def test_an_object_too_large_is_refused_and_not_retried(client, namespace) -> None:
    with pytest.raises(ApiError) as caught:
        await client.create(CONFIG_MAPS, config_map("a", x="x" * (4 * 2**20)), namespace)
    assert caught.value.status in (413, 422)


async def test_the_clock_agrees_with_a_server_on_this_machine(client, namespace) -> None:
    for _ in range(5):
        await client.list(CONFIG_MAPS, namespace)
        await asyncio.sleep(0.3)
    assert abs(client.server_offset_seconds) < 0.1
