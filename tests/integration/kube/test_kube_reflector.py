"""The reflector against the real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from klipstream_kube import CONFIG_MAPS, Client, Gone, Resource


def config_map(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"ours": "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class WatchesOfOneSecond(Client):
    """The server ends every watch after a second."""

    def watch(self, *args: Any, **options: Any) -> AsyncGenerator[tuple[str, Any], None]:
        return super().watch(*args, **options | {"timeout_seconds": 1})


class FirstWatchComesTooLate(Client):
    """The first watch begins when the test allows, at a version that the server no longer has."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.allowed = asyncio.Event()
        self.gone = 0

    async def watch(self, *args: Any, **options: Any) -> AsyncGenerator[tuple[str, Any], None]:
        if not self.allowed.is_set():
            await self.allowed.wait()
        if not self.gone:  # a watch cache that is not ready answers 429 at first
            options["resource_version"] = "1"
        try:
            async for event in super().watch(*args, **options):
                yield event
        except Gone:
            self.gone += 1
            raise


async def test_nothing_is_missed_while_the_server_ends_watch_after_watch(client, namespace, reflecting) -> None:
    verbs: list[str] = []
    async with WatchesOfOneSecond(client.connection) as interrupted:
        interrupted.on_request = lambda verb, *_: verbs.append(verb)
        async with reflecting(interrupted, namespace, CONFIG_MAPS) as (reflector, picture):
            await reflector.synced.wait()
            for n in range(40):
                await client.create(CONFIG_MAPS, config_map(f"c{n}", x=str(n)), namespace)
                if n % 2:
                    await client.delete(CONFIG_MAPS, f"c{n}", namespace)
                await asyncio.sleep(0.08)
            expected = {f"c{n}" for n in range(0, 40, 2)}
            await picture.until(lambda: set(picture.objects) == expected)
            await picture.until(lambda: len(picture.deleted) == 20)
    assert verbs.count("list") == 1
    assert verbs.count("watch") >= 3


async def test_what_happened_before_a_relist_is_told_as_deletions_and_new_objects(
    client, namespace, things, reflecting
) -> None:
    created = {
        name: await client.create(things.resource, things.make(name), namespace)
        for name in ("kept", "removed", "replaced")
    }
    uids = {name: item["metadata"]["uid"] for name, item in created.items()}
    async with (
        FirstWatchComesTooLate(client.connection) as late,
        reflecting(late, namespace, things.resource) as (reflector, picture),
    ):
        await reflector.synced.wait()
        await client.delete(things.resource, "removed", namespace)
        await client.delete(things.resource, "replaced", namespace)
        new = await client.create(things.resource, things.make("replaced"), namespace)
        late.allowed.set()
        await picture.until(lambda: picture.lists == 2)
        seen = {name: item["metadata"]["uid"] for name, item in picture.objects.items()}
        assert seen == {"kept": uids["kept"], "replaced": new["metadata"]["uid"]}
        assert sorted(picture.deleted) == [("removed", uids["removed"]), ("replaced", uids["replaced"])]
        await client.create(things.resource, things.make("after"), namespace)
        await picture.until(lambda: "after" in picture.objects)
        assert reflector.problem is None
    assert late.gone == 1


async def test_crds_removed_and_installed_again_heal(client, namespace, things, reflecting) -> None:
    await client.create(things.resource, things.make("a"), namespace)
    async with reflecting(client, namespace, things.resource) as (reflector, picture):
        await picture.until(lambda: "a" in picture.objects)
        await things.remove()
        await picture.until(lambda: "install the CRDs" in (reflector.problem or ""))
        await things.install()
        await client.create(things.resource, things.make("b"), namespace)
        await picture.until(lambda: set(picture.objects) == {"b"})
        assert reflector.problem is None


async def test_an_object_that_loses_its_label_leaves_the_picture(client, namespace, reflecting) -> None:
    await client.create(CONFIG_MAPS, config_map("a"), namespace)
    async with reflecting(client, namespace, CONFIG_MAPS) as (reflector, picture):
        await reflector.synced.wait()
        await client.patch(CONFIG_MAPS, "a", namespace, {"metadata": {"labels": {"ours": None}}})
        await picture.until(lambda: not picture.objects)


async def test_a_resource_the_server_does_not_know_asks_for_the_crds(client, namespace, reflecting) -> None:
    unknown = Resource("missing.klipstream.io", "v1", "things", "Thing")
    async with reflecting(client, namespace, unknown) as (reflector, picture):
        await picture.until(lambda: reflector.problem is not None)
        assert "things.missing.klipstream.io" in reflector.problem
        assert "install the CRDs" in reflector.problem
