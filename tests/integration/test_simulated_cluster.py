"""The simulated API server answers as the real one does: the same scripted cases in both, compared line by line."""

import asyncio
import base64
import difflib
import json
import re
import uuid
from typing import Any
from urllib.request import Request, urlopen

import pytest

from klipcluster import Running
from klipsim.apiserver import ApiServer
from klipsim.conformance import deletions, reads, rules, writes
from klipsim.conformance.bodies import ANALYSIS_JOBS, analysis_job
from klipsim.conformance.sites import Case, in_namespaces, in_simulation, make_namespace, simulated
from klipstream_api.crds import analysis_job_crd
from klipstream_kube import Client, Gone, load_connection

CASES: dict[str, Case] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": case
    for module in (writes, rules, deletions, reads)
    for name, case in module.CASES.items()
}
AT_ONCE = 6
Transcripts = dict[str, list[str]]


@pytest.fixture(scope="module")
def real(control_plane: Running, custom_resources: None) -> Transcripts:
    """What the cases show in a real cluster, several at a time, each in a namespace of its own."""

    async def run() -> Transcripts:
        async with Client(load_connection(str(control_plane.kubeconfig))) as client:
            return await in_namespaces(client, CASES, f"conform-{uuid.uuid4().hex[:6]}", AT_ONCE)

    return asyncio.run(run())


@pytest.mark.parametrize("name", CASES)
def test_the_simulated_api_server_shows_what_the_real_one_shows(name: str, real: Transcripts) -> None:
    found = in_simulation(CASES[name])
    assert found == real[name], "\n" + "\n".join(difflib.unified_diff(real[name], found, "real", "simulated", n=1))


async def _two_pages(client: Client, namespace: str) -> dict[str, Any]:
    """Three jobs, of which a list has shown the first."""
    for name in "abc":
        await client.create(ANALYSIS_JOBS, analysis_job(name), namespace)
    return await client.request("GET", ANALYSIS_JOBS.path(namespace), params={"limit": "1"})


async def _next_page(client: Client, namespace: str, token: str) -> tuple[int, str]:
    with pytest.raises(Gone) as refused:
        await client.request("GET", ANALYSIS_JOBS.path(namespace), params={"limit": "1", "continue": token})
    return refused.value.status, refused.value.reason


def test_a_list_that_goes_on_after_its_moment_was_compacted_is_refused(
    control_plane: Running, custom_resources: None
) -> None:
    cluster = control_plane.kubeconfig.parents[1] / "cluster.json"
    if not cluster.exists():
        pytest.skip("only the etcd of a cluster of our own can be compacted from here")
    etcd = f"http://127.0.0.1:{json.loads(cluster.read_text())['network']['etcd_port']}"
    namespace = f"conform-{uuid.uuid4().hex[:6]}"

    async def in_reality() -> tuple[int, str]:
        async with Client(load_connection(str(control_plane.kubeconfig))) as client:
            await make_namespace(client, namespace)
            first = await _two_pages(client, namespace)
            await asyncio.to_thread(_compact, etcd)
            # The API server keeps its latest lists in memory for a while, so the token is made to be of long ago.
            token = json.loads(base64.urlsafe_b64decode(first["metadata"]["continue"] + "=="))
            old = base64.urlsafe_b64encode(json.dumps(token | {"rv": 2}).encode()).decode().rstrip("=")
            return await _next_page(client, namespace, old)

    async def in_the_simulation(client: Client, server: ApiServer) -> tuple[int, str]:
        first = await _two_pages(client, "simulated")
        server.compact()
        return await _next_page(client, "simulated", first["metadata"]["continue"])

    assert simulated(in_the_simulation) == asyncio.run(in_reality()) == (410, "Expired")


def _compact(etcd: str) -> None:
    revision = _post(f"{etcd}/v3/maintenance/status", {})["header"]["revision"]
    _post(f"{etcd}/v3/kv/compaction", {"revision": revision, "physical": True})


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def test_a_watch_that_goes_on_from_before_a_compaction_is_refused() -> None:
    """The real one forgets what its watch cache does not hold: reads.a_version_of_long_ago_is_gone."""

    async def watched(client: Client, server: ApiServer) -> None:
        _, version = await client.list(ANALYSIS_JOBS, "simulated")
        await client.create(ANALYSIS_JOBS, analysis_job(), "simulated")
        server.compact()
        with pytest.raises(Gone):
            async for _ in client.watch(ANALYSIS_JOBS, "simulated", resource_version=version):
                pass

    simulated(watched)


def test_a_bookmark_names_nothing_but_a_version(control_plane: Running, custom_resources: None) -> None:
    """Both send one about a minute after the last; the real one also sends one before it ends the watch."""
    namespace = f"conform-{uuid.uuid4().hex[:6]}"

    async def in_reality() -> dict[str, Any]:
        async with Client(load_connection(str(control_plane.kubeconfig))) as client:
            await make_namespace(client, namespace)
            return await reads.bookmark(client, namespace, seconds=12)

    async def in_the_simulation(client: Client, _: ApiServer) -> dict[str, Any]:
        return await reads.bookmark(client, "simulated", seconds=100)

    assert simulated(in_the_simulation) == asyncio.run(in_reality()) != {}


def test_every_rule_about_changes_is_broken_by_some_case() -> None:
    """What a write may be by itself is the schema's matter, which the simulation leaves to the models' own tests."""
    schema = analysis_job_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    rules_of_changes = [
        message
        for part in ("spec", "status")
        for rule in schema[part]["x-kubernetes-validations"]
        if "oldSelf" in rule["rule"]
        for message in re.findall(r"(?:\? |: )'([^']*)'", rule["messageExpression"])
    ]
    shown = "\n".join(line for case in rules.CASES.values() for line in in_simulation(case))
    assert len(rules_of_changes) == 16
    assert [message for message in rules_of_changes if message not in shown] == []


def test_every_case_says_something() -> None:
    """A case that shows nothing would agree with anything."""
    assert all(in_simulation(case) for case in CASES.values())
