"""Hostile URLs as users would submit them: as callbacks of jobs and endpoints of queues, with a relay that runs."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Running
from kliphostile.answers import RawServer, raw_server
from kliphostile.name_server import name_server
from kliphostile.urls import CLUSTER_NETWORKS, LEADING_INSIDE, hostile_urls, zone
from klipstream_kube import Client, Invalid, load_connection
from klipwebhook.stage import Receivers, Relay, Stage
from klipwebhook.statuses import make_queue

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
"""The one is allowed and plays the public Internet, the other is what nobody may reach."""
REDIRECTS = (301, 302, 303, 307, 308)


def zone_with_rebinding(name: str, time: int) -> list[str]:
    """`rebound.hostile.net` is outside the first time it is asked for, and inside from then on."""
    if name == "rebound.hostile.net":
        return [OUTSIDE] if time == 1 else [INSIDE]
    return zone(name, time)


@pytest.mark.sweep
@pytest.mark.timeout(900)
async def test_no_hostile_url_is_ever_called(
    control_plane: Running, custom_resources: None, namespace: str, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    async with AsyncExitStack() as stack:
        inside = await stack.enter_async_context(raw_server(INSIDE))
        outside = await stack.enter_async_context(raw_server(OUTSIDE, inside.port))
        redirecting = [await stack.enter_async_context(raw_server(OUTSIDE)) for _ in REDIRECTS]
        for server, code in zip(redirecting, REDIRECTS, strict=True):
            server.answer = (
                b"HTTP/1.1 %d Elsewhere\r\nLocation: http://%s:%d/\r\nContent-Length: 0\r\n\r\n"
                % (code, INSIDE.encode(), inside.port)
            )  # fmt: skip
        names = await stack.enter_async_context(name_server(zone_with_rebinding))
        relay = Relay(
            control_plane.kubeconfig, tmp_path, namespace,
            KLIPSTREAM_ALLOWED_NETWORKS=f"{OUTSIDE}/32", KLIPSTREAM_CLUSTER_NETWORKS=",".join(CLUSTER_NETWORKS),
            KLIPSTREAM_NAMESERVERS=names.where, KLIPSTREAM_TIMEOUT_SECONDS="3",
            KLIPSTREAM_LEASE_SECONDS="60",
        )  # fmt: skip
        stack.callback(relay.kill)
        client = await stack.enter_async_context(
            Client(load_connection(str(control_plane.kubeconfig)), max_connections=20)
        )
        stage = Stage(client, namespace, relay, Receivers(tmp_path))
        await make_queue(client, namespace, "default")
        await make_queue(client, namespace, "redirected", *(
            {"name": f"redirect-{code}", "url": f"http://{OUTSIDE}:{server.port}/hook", "events": ["job.succeeded"]}
            for server, code in zip(redirecting, REDIRECTS, strict=True)
        ))  # fmt: skip
        await stage.start_relay()

        rebound = f"https://rebound.hostile.net:{inside.port}/hook"
        urls = [*hostile_urls(inside.port), *(f"https://{name}:{inside.port}/hook" for name in LEADING_INSIDE), rebound]
        refused_at_once = await _submit(stage, urls)
        redirects = stage.job("redirected", "redirected")
        await redirects.submit()
        await redirects.accept()
        await redirects.finish()
        due = len(urls) - len(refused_at_once) + len(REDIRECTS)
        dead = await _given_up(relay, due)
        await stage.announced(redirects)
        reasons = Counter(each["reason"] for each in dead)

        said = [str(each["message"]) for each in dead]
        assert all(len(message.split()) >= 4 for message in said), "each is refused with a reason"
        figures(
            f"hostile URLs: {len(urls)} and {len(REDIRECTS)} redirects refused; {len(refused_at_once)} by the API"
            f" server at once, others by the relay ({', '.join(f'{n} {why}' for why, n in sorted(reasons.items()))});"
            f" {inside.connections} connections inside"
        )
        assert len(urls) >= 300
        assert all(refused_at_once.values())
        assert reasons["Redirect"] == len(REDIRECTS)
        assert reasons["AddressRefused"] == len(LEADING_INSIDE) + 1
        assert set(reasons) == {"UrlRefused", "AddressRefused", "Redirect"}
        assert sum(reasons.values()) == due
        _reached(outside, redirecting)
        assert inside.connections == 0


def _reached(outside: RawServer, redirecting: list[RawServer]) -> None:
    """The guard was put to the test: what is allowed was really called."""
    assert outside.connections == 1, "the name's first answer was followed"
    assert all(server.connections >= 1 for server in redirecting)


async def _submit(stage: Stage, urls: list[str]) -> dict[str, str]:
    """Submit and finish a job for each URL; what the API server said of those that it took none of."""
    refused: dict[str, str] = {}
    turns = asyncio.Semaphore(8)

    async def one(number: int, url: str) -> None:
        async with turns:
            job = stage.job(f"hostile-{number}")
            try:
                await job.submit(callback={"url": url, "events": ["job.succeeded"]})
            except Invalid as error:
                refused[url] = error.message
                return
            await job.accept()
            await job.finish()

    async with asyncio.TaskGroup() as tasks:
        for number, url in enumerate(urls):
            tasks.create_task(one(number, url))
    return refused


async def _given_up(relay: Relay, due: int) -> list[dict[str, Any]]:
    """The deliveries that were given up, once these are as many; the name server is answered for meanwhile."""
    async with asyncio.timeout(180):
        while True:
            dead = await asyncio.to_thread(relay.deliveries, "--state", "dead")
            if len(dead) >= due:
                return dead
            assert relay.running, relay.said()[-3000:]
            await asyncio.sleep(1)
