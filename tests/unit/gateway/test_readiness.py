"""What is said of a replica that does not read the cluster: to everybody, and to administrators."""

import asyncio
import socket

import pytest

from klipstream_gateway.problems import Refused
from klipstream_gateway.routes import ANONYMOUS, Call, Principal, Scope
from klipstream_gateway.runtime import Runtime
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection

ADMIN = Principal("key:administrator", frozenset([Scope.ADMIN]))
READER = Principal("key:reader", frozenset([Scope.READ, Scope.SUBMIT]))


async def said_to(principal: Principal, settled: bool) -> str:
    """The detail of /readyz where nothing listens at the API server's address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{unused.getsockname()[1]}"
        environment = {"KLIPSTREAM_HOST": "127.0.0.1", "KLIPSTREAM_PORT": "0"}
        environment |= {"KLIPSTREAM_METRICS_HOST": "127.0.0.1", "KLIPSTREAM_METRICS_PORT": "0"}
        async with Client(Connection(server)) as client:
            runtime = Runtime(Settings.from_environment("secret-place", environment), client)
            (route,) = [each for each in runtime.service.routes if each.operation == "getReadiness"]
            serving = asyncio.create_task(runtime.run())
            try:
                async with asyncio.timeout(60):
                    while settled and not any("does not answer" in each for each in runtime.problems()):
                        await asyncio.sleep(0.05)
                with pytest.raises(Refused) as refused:
                    await route.handler(Call(principal, "1", "192.0.2.1", {}, None, None, {}))
            finally:
                runtime.stop()
                await serving
    return refused.value.detail.replace(server, "SERVER")


@pytest.mark.parametrize("principal", [ANONYMOUS, READER])
async def test_nobody_but_an_administrator_learns_where_the_api_server_is(principal: Principal) -> None:
    detail = await said_to(principal, settled=True)
    assert "not being read from the cluster" in detail
    assert not [word for word in ("SERVER", "127.0.0.1", "secret-place", "analysis.klipstream.io") if word in detail]


async def test_nobody_but_an_administrator_learns_the_namespace() -> None:
    assert "secret-place" not in await said_to(ANONYMOUS, settled=False)


async def test_administrators_are_told_what_the_log_says() -> None:
    assert "the API server SERVER does not answer" in await said_to(ADMIN, settled=True)
