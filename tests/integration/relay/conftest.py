"""Fixtures of the tests that run the relay."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from klipstream_kube import Client, load_connection
from klipwebhook.stage import Receivers, Relay, Stage

MakeStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def make_stage(control_plane, custom_resources, namespace: str, tmp_path: Path) -> AsyncIterator[MakeStage]:
    """stage = await make_stage({"good": "ok"}, KLIPSTREAM_...="..."): a relay that is ready, and receivers."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(load_connection(str(control_plane.kubeconfig))))

        async def make(
            behaviours: dict[str, str], started: bool = True, certificate: Path | None = None, **environment: str
        ) -> Stage:
            receivers = Receivers(tmp_path, certificate, **behaviours)
            receivers.listen()
            stack.callback(receivers.process.kill)
            relay = Relay(control_plane.kubeconfig, tmp_path, namespace, **environment)
            stack.callback(relay.kill)
            stage = Stage(client, namespace, relay, receivers)
            if started:
                await stage.start_relay()
            return stage

        yield make
