"""Each fault of the proxy, as our own client meets it at the real API server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from klipfault.calls import Call, call_of
from klipfault.faults import (
    CloseWatch,
    Delay,
    DelayEvent,
    DropAnswer,
    DuplicateEvent,
    ExpireWatch,
    FreezeWatch,
    Refuse,
    Reset,
    Rule,
    SwallowEvent,
)
from klipfault.proxy import FaultProxy, Moment, Then
from klipfault.record import Write
from klipstream_kube import (
    ApiError,
    Client,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Resource,
    TooManyRequests,
    Unreachable,
    load_connection,
)

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
WRITES = frozenset({"create", "update", "patch", "delete"})
ANALYSIS = "/apis/analysis.klipstream.io/v1alpha1/namespaces/n"


@pytest.fixture
async def proxy(control_plane: Any) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(control_plane.kubeconfig) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy, tmp_path: Any) -> AsyncIterator[Client]:
    """Goes through the proxy, as the operator does: by its kubeconfig."""
    connection = load_connection(str(proxy.write_kubeconfig(tmp_path / "kubeconfig")))
    async with Client(connection) as client:
        yield client


@pytest.fixture
async def direct(control_plane: Any) -> AsyncIterator[Client]:
    async with Client(load_connection(str(control_plane.kubeconfig))) as client:
        yield client


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def exists(client: Client, namespace: str, name: str) -> bool:
    try:
        await client.get(CONFIG_MAPS, name, namespace)
    except NotFound:
        return False
    return True


@pytest.mark.parametrize(("method", "path", "query", "body", "expected"), [
    ("GET", f"{ANALYSIS}/analysisjobs", {"watch": "1"}, b"",
     Call("watch", "analysisjobs.analysis.klipstream.io", "", "n", "")),
    ("GET", "/api/v1/pods", {}, b"", Call("list", "pods")),
    ("GET", "/api/v1/namespaces/n", {}, b"", Call("get", "namespaces", "", "", "n")),
    ("PUT", "/api/v1/namespaces/n/finalize", {}, b"", Call("update", "namespaces", "finalize", "", "n")),
    ("PATCH", f"{ANALYSIS}/analysisjobs/a/status", {}, b"{}",
     Call("patch", "analysisjobs.analysis.klipstream.io", "status", "n", "a")),
    ("POST", "/apis/batch/v1/namespaces/n/jobs", {}, b'{"metadata": {"name": "a-1"}}',
     Call("create", "jobs.batch", "", "n", "a-1")),
    ("POST", "/apis/batch/v1/namespaces/n/jobs", {"dryRun": "All"}, b"{}",
     Call("create", "jobs.batch", "", "n", "", dry_run=True)),
    ("POST", "/api/v1/namespaces/n/pods/p/binding", {}, b"{}", Call("create", "pods", "binding", "n", "p")),
    ("DELETE", "/api/v1/namespaces/n/pods", {}, b"", Call("deletecollection", "pods", "", "n", "")),
    ("GET", "/version", {}, b"", Call("get", "")),
])  # fmt: skip
def test_a_request_is_told_by_its_url(method: str, path: str, query: dict[str, str], body: bytes,
                                      expected: Call) -> None:  # fmt: skip
    told = call_of(method, path, query, body)
    assert (told.resource, told.subresource, told.namespace, told.name, told.dry_run) == (
        expected.resource, expected.subresource, expected.namespace, expected.name, expected.dry_run,
    )  # fmt: skip
    assert told.resource == "" or told.verb == expected.verb


def test_a_review_and_a_dry_run_write_nothing() -> None:
    assert not Call("create", "tokenreviews.authentication.k8s.io").writes
    assert not Call("create", "jobs.batch", dry_run=True).writes
    assert Call("create", "jobs.batch").writes


# --- requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "error"), [
    (409, Conflict), (410, Gone), (422, Invalid), (429, TooManyRequests), (500, ApiError), (503, ApiError),
])  # fmt: skip
async def test_a_refused_write_is_never_stored(proxy: FaultProxy, client: Client, direct: Client, namespace: str,
                                               code: int, error: type[ApiError]) -> None:  # fmt: skip
    proxy.rules.append(Rule(Refuse(code), verbs=WRITES, resource="configmaps"))
    with pytest.raises(error) as raised:
        await client.create(CONFIG_MAPS, config_map("a"), namespace)
    assert raised.value.status == code
    assert not await exists(direct, namespace, "a")
    assert set(proxy.record.faults) == {f"refuse {code}"}
    assert proxy.record.writes == []


async def test_retry_after_is_passed_on(proxy: FaultProxy, client: Client, namespace: str) -> None:
    proxy.rules.append(Rule(Refuse(429, retry_after_seconds=1), resource="configmaps", nth=1))
    began = time.monotonic()
    await client.create(CONFIG_MAPS, config_map("a"), namespace)
    assert time.monotonic() - began > 1
    assert proxy.record.faults == {"refuse 429+Retry-After": 1}


async def test_a_delayed_request_is_forwarded_late(proxy: FaultProxy, client: Client, direct: Client,
                                                   namespace: str) -> None:  # fmt: skip
    assert not await exists(direct, namespace, "a")  # the connection is there
    proxy.rules.append(Rule(Delay(5.0), verbs=WRITES, resource="configmaps"))
    creating = asyncio.create_task(client.create(CONFIG_MAPS, config_map("a"), namespace))
    await asyncio.sleep(0.5)
    assert not await exists(direct, namespace, "a")
    await creating
    assert await exists(direct, namespace, "a")


@pytest.mark.parametrize(("fault", "stored"), [(Reset(), False), (DropAnswer(), True)])
async def test_a_cut_connection_hides_whether_the_write_was_stored(
    proxy: FaultProxy, client: Client, direct: Client, namespace: str, fault: Reset | DropAnswer, stored: bool
) -> None:
    proxy.rules.append(Rule(fault, verbs=WRITES, resource="configmaps"))
    with pytest.raises(Unreachable):
        await client.create(CONFIG_MAPS, config_map("a"), namespace)
    assert await exists(direct, namespace, "a") is stored
    assert proxy.record.faults == {fault.kind: 1}


async def test_a_rule_meets_the_nth_request_that_it_matches(proxy: FaultProxy, client: Client, namespace: str) -> None:
    proxy.rules.append(Rule(Refuse(409), verbs=frozenset({"patch"}), resource="configmaps", name="b", nth=2))
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name), namespace)
    for _ in range(2):
        await client.patch(CONFIG_MAPS, "a", namespace, {"data": {"x": "1"}})
    await client.patch(CONFIG_MAPS, "b", namespace, {"data": {"x": "1"}})
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "b", namespace, {"data": {"x": "2"}})
    await client.patch(CONFIG_MAPS, "b", namespace, {"data": {"x": "3"}})
    assert proxy.record.injected == 1
    told = [(write.ordinal, write.call.verb, write.call.name, write.code) for write in proxy.record.writes]
    assert told == [
        (1, "create", "a", 201), (2, "create", "b", 201), (3, "patch", "a", 200), (4, "patch", "a", 200),
        (5, "patch", "b", 200), (6, "patch", "b", 200),
    ]  # fmt: skip


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("then", Then)
async def test_a_write_is_interrupted_before_or_after_it_is_stored(
    proxy: FaultProxy, client: Client, direct: Client, namespace: str, moment: Moment, then: Then
) -> None:
    seen: list[tuple[str, int | None, bool]] = []

    async def look(write: Write) -> Then:
        seen.append((write.call.name, write.code, await exists(direct, namespace, "b")))
        return then

    proxy.interrupt(2, moment, look)
    await client.create(CONFIG_MAPS, config_map("a"), namespace)
    expectation = contextlib.nullcontext() if then is Then.GO_ON else pytest.raises(Unreachable)
    with expectation:
        await client.create(CONFIG_MAPS, config_map("b"), namespace)
    after = moment is Moment.AFTER
    assert seen == [("b", 201 if after else None, after)]
    assert await exists(direct, namespace, "b") is (after or then is Then.GO_ON)


# --- watches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "expected", "ending"), [
    (CloseWatch(2), ["a", "b"], None),
    (FreezeWatch(2), ["a", "b"], Unreachable),
    (ExpireWatch(2), ["a", "b"], Gone),
    (ExpireWatch(0), [], Gone),
    (SwallowEvent(2), ["a", "c"], Unreachable),
    (DuplicateEvent(2), ["a", "b", "b", "c"], Unreachable),
    (DelayEvent(2, seconds=0.5), ["a", "b", "c"], Unreachable),
])  # fmt: skip
async def test_a_watch_meets_its_fault(proxy: FaultProxy, client: Client, direct: Client, namespace: str, fault: Any,
                                       expected: list[str], ending: type[Exception] | None) -> None:  # fmt: skip
    proxy.rules.append(Rule(fault, resource="configmaps"))
    selector = {"field_selector": "metadata.name!=kube-root-ca.crt"}
    _, version = await client.list(CONFIG_MAPS, namespace, **selector)
    seen: list[str] = []
    times: list[float] = []

    async def watch() -> None:
        async with contextlib.aclosing(
            client.watch(CONFIG_MAPS, namespace, resource_version=version, idle_seconds=2, **selector)
        ) as events:
            async for kind, obj in events:
                assert kind == "ADDED"
                seen.append(obj["metadata"]["name"])
                times.append(time.monotonic())

    watching = asyncio.create_task(watch())
    for name in ("a", "b", "c"):
        await direct.create(CONFIG_MAPS, config_map(name), namespace)
    if ending is None:
        await watching
    else:
        with pytest.raises(ending):
            await watching
    assert seen == expected
    assert proxy.record.faults == {fault.kind: 1}
    if isinstance(fault, DelayEvent):
        assert times[1] - times[0] > 0.4


async def test_open_watches_are_counted_while_their_client_is_there(proxy: FaultProxy, client: Client,
                                                                    namespace: str) -> None:  # fmt: skip
    _, version = await client.list(CONFIG_MAPS, namespace)
    opened = asyncio.Event()

    async def watch() -> None:
        watching = client.watch(CONFIG_MAPS, namespace, resource_version=version, on_open=opened.set)
        async with contextlib.aclosing(watching) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(watch())
    await opened.wait()
    assert proxy.record.watches["configmaps"] == 1
    task.cancel()
    async with asyncio.timeout(5):
        while proxy.record.watches["configmaps"]:
            await asyncio.sleep(0.05)
