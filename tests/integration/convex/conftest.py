"""A convex-test server, and the Convex side of the relay on a real API server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from klipconvex.compare import RESOURCES
from klipconvex.server import SECRET, ConvexTestServer, NotHere, functions_served
from klipstream_convex.deployment import Deployment
from klipstream_convex.runtime import ConvexSide
from klipstream_convex.settings import Settings
from klipstream_convex.shadow import KINDS, Kind
from klipstream_kube import Client, Reflector, load_connection


@pytest_asyncio.fixture
async def convex(tmp_path: Path) -> AsyncIterator[ConvexTestServer]:
    async with functions_served(tmp_path / "convex.log") as server:
        yield server


@pytest_asyncio.fixture
async def client(control_plane, custom_resources) -> AsyncIterator[Client]:
    async with Client(load_connection(control_plane.kubeconfig), user_agent="convex-side") as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """What needs a server that fails on demand is left out, loudly, where a real deployment is tried."""
    try:
        return (yield)
    except NotHere as error:
        pytest.skip(str(error))


@asynccontextmanager
async def side(convex: ConvexTestServer, client: Client, namespace: str, **settings: Any) -> AsyncIterator[ConvexSide]:
    """The Convex side with feeds of its own, running."""
    values: dict[str, Any] = {"flush_seconds": 0.05, "requests_seconds": 0.2, "heartbeat_seconds": 0.5} | settings
    made = Settings(url=convex.url, cluster=namespace, secret=SECRET, namespace=namespace, **values)
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(Deployment(made.url, secret=made.secret))
        feeds: dict[Kind, Reflector] = {}
        running = ConvexSide(made, deployment, client, RESOURCES, lambda kind: feeds[kind].version)
        for kind in KINDS:
            feeds[kind] = Reflector(
                client, RESOURCES[kind], namespace,
                on_upsert=lambda obj, kind=kind: running.seen(kind, obj),
                on_delete=lambda obj, kind=kind: running.gone(kind, obj),
                log=logging.getLogger("feed"),
            )  # fmt: skip
        tasks = [asyncio.create_task(feed.run()) for feed in feeds.values()]
        for feed in feeds.values():
            await feed.synced.wait()
        tasks.append(asyncio.create_task(running.run()))
        try:
            yield running
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            bugs = [each for each in ended if isinstance(each, Exception)]
            assert not bugs
