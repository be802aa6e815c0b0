"""The chart on a real node: installed as 0.1.0, upgraded, rolled back and upgraded while jobs run; then removed."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipchart.rights import NAMESPACE, RELEASE, render, rights_of
from klipchart.unused_rights import UNUSED
from klipcluster import Cluster
from klipcluster.node import ADDRESS
from klipcluster.tools import tools_folder
from klipconvex.compare import differences
from klipconvex.server import SECRET, ConvexTestServer, functions_served
from klipfake.ports import free_port
from klipfake.processes import Process
from klipinstall.audit_rights import events_of, never_used, uses_of
from klipinstall.release import OLD_TAG, ROOT, Tools, build_images, old_release
from klipjudge.audit import read_requests
from klipjudge.history import seconds
from klipjudge.judge import judge
from klipjudge.verdict import Terms
from klipstream import AsyncClient, NotAllowed
from klipstream_api import names
from klipstream_gateway.keys import new_key
from klipstream_gateway.routes import Scope
from klipstream_kube import Client, load_connection
from klipstream_relay.signing import new_secret
from klipwebhook.stage import Receivers

pytestmark = [pytest.mark.node, pytest.mark.sweep, pytest.mark.timeout(3600)]
CHART = ROOT / "charts" / "klipstream"
IMAGES = "localhost/klipstream-"
SHARED_CLUSTER = "e2e"
BY_KUBECTL, BY_REST, BETWEEN = 12, 12, 6
SLOTS = 3
PATIENCE_SECONDS = 900.0
FINAL = {"Succeeded", "Failed", "Cancelled", "Rejected"}
# Posts progress for as many seconds as its job says; a job that is to fail does so for good.
WORKER = """\
import time
from klipstream_worker import AnalysisError, AnalysisTask
with AnalysisTask.from_environment() as task:
    with task.stage("Analyzing") as stage:
        for _ in stage.iterate(range(int(task.params.get("seconds", "3")) * 4)):
            time.sleep(0.25)
        if "fail" in task.params:
            raise AnalysisError("asked to fail", retryable=False)
    task.succeed("done")
"""


@pytest.fixture(scope="module")
def old() -> Path:
    return old_release()


@pytest.fixture(scope="module")
def cluster(old: Path) -> Iterator[Cluster]:
    """A node with the images of both releases, and an audit log."""
    archives = [old / "build" / "images" / f"{name}.tar" for name in ("operator", "relay")]
    archives += build_images(ROOT, "dev", "operator", "relay", "gateway", "pipeline")
    made = Cluster("chart-test")
    try:
        made.up(audit=True)
        for archive in archives:
            made.load_image(archive)
        yield made
    finally:
        made.down()


@pytest.fixture
def tools(cluster: Cluster) -> Tools:
    return Tools(cluster.running().kubeconfig)


def values(tag: str, **more: Any) -> dict[str, Any]:
    """What both releases understand; claims are volumes of this machine."""

    def image(name: str, tag: str = tag) -> dict[str, str]:
        return {"repository": f"{IMAGES}{name}", "tag": tag, "pullPolicy": "Never"}

    here = {"storageClassName": "-", "size": "1Gi"}
    small = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    operator = {"image": image("operator"), "archiveLogs": True, "resources": small}
    relay = {
        "image": image("relay"), "persistence": here, "allowedNetworks": [f"{ADDRESS}/32"], "resources": small,
        "progressSeconds": 2, "retrySeconds": 1,
    }  # fmt: skip
    return {
        "operator": operator | more.pop("operator", {}),
        "relay": relay | more.pop("relay", {}),
        "worker": {"image": image("pipeline", "dev"), "resources": small},
        "results": {"persistence": here},
    } | more


def volume(name: str, folder: Path, claim: str) -> dict[str, Any]:
    folder.mkdir()
    folder.chmod(0o777)
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": NAMESPACE, "name": claim},
        },
    }  # fmt: skip


def service_here(name: str, port: int) -> list[dict[str, Any]]:
    """A name of the cluster for a port of this machine: http is taken for what is inside."""
    ports = [{"name": "http", "port": port}]
    labels = {"kubernetes.io/service-name": name}
    endpoints = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}},
        endpoints
        | {"metadata": {"name": name, "labels": labels}, "endpoints": [{"addresses": [ADDRESS]}], "ports": ports},
    ]  # fmt: skip


def secret(name: str, data: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name} | metadata, "stringData": data}


def queue(name: str, url: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "worker", "image": f"{IMAGES}pipeline:dev", "imagePullPolicy": "Never",
                 "command": ["python3", "-c", WORKER]}  # fmt: skip
    pod = {
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
    }
    endpoint = {"name": "shop", "url": url, "secretRef": {"name": "shop", "key": "signing"}}
    results = {"url": "file:///results", "claimName": f"{RELEASE}-results"}
    spec = {
        "maxConcurrentJobs": SLOTS,
        "workerTemplate": {"spec": pod},
        "endpoints": [endpoint],
        "results": results,
    } | spec
    return {"apiVersion": names.API_VERSION, "kind": "AnalysisQueue", "metadata": {"name": name}, "spec": spec}


def job(name: str, queue_name: str = "batch", **params: str) -> dict[str, Any]:
    spec = {"videoUrl": f"https://example.com/{name}.mp4", "queueName": queue_name, "params": params}
    return {"apiVersion": names.API_VERSION, "kind": "AnalysisJob", "metadata": {"name": name}, "spec": spec}


async def until(holds: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """What it gives, once that is true. The question may block, so it is asked in a thread."""
    deadline = time.monotonic() + patience
    while not (found := await asyncio.to_thread(holds)):
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(1)
    return found


def phases(tools: Tools, *jobs: str) -> Counter[str]:
    """How many AnalysisJobs are in each phase; of those named, or of all."""
    found = {each["metadata"]["name"]: each["status"]["phase"] for each in tools.items("analysisjobs")}
    return Counter(phase for name, phase in found.items() if not jobs or name in jobs)


def fields_of(tools: Tools) -> set[str]:
    """Fields of a queue's spec that the API server knows."""
    crd = json.loads(tools.kubectl("get", "crd", f"analysisqueues.{names.GROUP}", "-o", "json"))
    return set(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])


def progress_of(began: float, what: str) -> None:
    print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)


async def test_the_chart_installs_upgrades_recovers_and_leaves_only_what_is_the_users(
    cluster: Cluster, tools: Tools, old: Path, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    began = time.monotonic()
    running = cluster.running()
    assert running.audit_log is not None
    receivers = Receivers(tmp_path, shop="ok")
    receivers.listen()
    convex_port = free_port()
    doorway = Process("klipnode.doorway", running.kubeconfig, tmp_path / "doorway.log",
                      str(convex_port), str(receivers.ports["shop"]))  # fmt: skip
    doorway.start()
    try:
        async with functions_served(tmp_path / "convex.log", port=convex_port) as convex:
            hook = f"http://{ADDRESS}:{receivers.ports['shop']}/hook"
            seen = await the_life_of_an_installation(cluster, tools, old, tmp_path, convex, hook, convex_port, began)
    finally:
        doorway.kill()
        receivers.process.kill()

    # Every end was announced once to each: the same id again is the same announcement.
    ends: dict[str, set[str]] = {}
    for received in receivers.received():
        if received.type in ("job.succeeded", "job.failed"):
            ends.setdefault(received.body["job_id"], set()).add(received.id)
    assert set(seen["ids"]) <= set(ends), "an end was not announced"
    assert {len(ends[job_id]) for job_id in seen["ids"]} == {1}, "an end was announced with two ids"

    # While a release is removed, roles go before the pods that release their Leases with them.
    log = [each for each in events_of(running.audit_log) if seconds(each["requestReceivedTimestamp"]) < seen["removed"]]
    used, refused = uses_of(log)
    rights = rights_of(render(tools_folder() / "helm", CHART))
    idle = never_used(rights, used) - set(UNUSED)
    verdict = judge([each for each in read_requests(running.audit_log) if each.namespace == NAMESPACE], Terms())
    figures(
        f"chart: installed 0.1.0 with {seen['installed']} objects; upgraded, rolled back and upgraded again within"
        f" {BY_KUBECTL + BY_REST + BETWEEN} jobs ({seen['attempts']} attempts, {verdict.reservations} reservations,"
        f" {len(verdict.violations)} promises broken); recovered from a kubelet's restart; {len(ends)} ends announced,"
        f" {seen['rows']} rows in Convex; removed all but {seen['left']}; {len(rights)} rights, {len(idle)} unused"
        f" without a reason, {len(refused)} refused"
    )
    assert refused == {}
    assert idle == set()
    assert [violation.message for violation in verdict.violations] == []


async def the_life_of_an_installation(
    cluster: Cluster, tools: Tools, old: Path, folder: Path, convex: ConvexTestServer, hook: str, convex_port: int,
    began: float,
) -> dict[str, Any]:  # fmt: skip
    """From the first installation to the removal; what was seen."""

    def call(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        return asyncio.to_thread(function, *arguments)

    tools.kubectl("create", "namespace", NAMESPACE)
    key, stored = new_key("e2e", (Scope.ADMIN,), None, None, datetime.now(UTC))
    tools.apply(
        volume("results", folder / "results", f"{RELEASE}-results"),
        volume("ledger", folder / "ledger", f"ledger-{RELEASE}-relay-0"),
        secret("convex", {"secret": SECRET}),
        *service_here("convex", convex_port),
        secret(f"{RELEASE}-api-keys", {f"{stored.id}.json": stored.model_dump_json(exclude_none=True)}),
        secret(
            "shop", {"signing": new_secret()},
            labels={"analysis.klipstream.io/callback": "true"},
            annotations={"analysis.klipstream.io/allowed-hosts": ADDRESS},
        ),
    )  # fmt: skip

    # 1. 0.1.0, and jobs that outlast the upgrade.
    await call(tools.install, "install", old / "charts" / "klipstream", values(OLD_TAG))
    installed = len(tools.items("all"))
    before = fields_of(tools)
    tools.apply(queue("batch", hook), *(job(f"kubectl-{n:02d}", seconds="6") for n in range(BY_KUBECTL)))
    await until(lambda: phases(tools)["Succeeded"] >= 2, "the first jobs are done")
    progress_of(began, f"0.1.0 is installed and works: {dict(phases(tools))}")

    # 2. The upgrade, while they run.
    new = values(
        "dev",
        gateway={
            "enabled": True,
            "image": {"repository": f"{IMAGES}gateway", "tag": "dev", "pullPolicy": "Never"},
            "ratesPerMinute": {"status": 6000, "submit": 6000, "change": 6000, "admin": 6000},
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        },
        relay={"convex": {
            "url": f"http://convex.{NAMESPACE}.svc:{convex_port}", "cluster": SHARED_CLUSTER, "secretName": "convex",
            "requestsNamespace": NAMESPACE,
        }},
    )  # fmt: skip
    running_before = phases(tools)
    await call(tools.install, "upgrade", CHART, new)
    assert running_before["Running"] + running_before["Starting"] > 0, "nothing ran while it was upgraded"
    added = fields_of(tools) - before
    assert "sources" in added, "the custom resources were not brought up to date"
    progress_of(began, f"upgraded with {dict(running_before)}; the custom resources learnt {sorted(added)}")
    said = await call(tools.helm, "test", RELEASE, "--timeout=10m")
    assert "Succeeded" in said
    progress_of(began, "helm test succeeded")

    # 3. Jobs through REST; the kubelet is killed and comes back while they run.
    async with AsyncClient(gateway_url(tools), api_key=key) as rest:
        for n in range(BY_REST):
            await rest.submit(f"https://example.com/rest-{n}.mp4", queue="batch", params={"seconds": "4"})
    await until(lambda: phases(tools)["Running"] > 0, "a job runs")
    cluster.processes.kill("kubelet")
    await asyncio.sleep(10)
    cluster.processes.start_again("kubelet")
    progress_of(began, f"the kubelet was away for ten seconds: {dict(phases(tools))}")

    # 4. Back to 0.1.0, whose operator works with today's custom resources; and forward again.
    tools.apply(*(job(f"between-{n}", seconds="5") for n in range(BETWEEN)))
    await call(tools.helm, "rollback", RELEASE, "1", "--wait", "--timeout=10m")
    assert fields_of(tools) >= before | added, "a rollback takes no field away"
    progress_of(began, f"rolled back: {dict(phases(tools))}")
    await call(tools.install, "upgrade", CHART, new)
    progress_of(began, f"upgraded again: {dict(phases(tools))}")
    await call(a_pause_outlasts_an_upgrade_and_its_rollback, tools, new)
    progress_of(began, f"paused, upgraded and rolled back: {dict(phases(tools))}")

    # 5. What every right is for: apps, dead letters and their replay, priorities, logs, tokens, the purge.
    async with AsyncClient(gateway_url(tools), api_key=key) as rest:
        await every_right_is_used(tools, rest, convex, key, hook)
    progress_of(began, "every right had its occasion")
    await until(lambda: set(phases(tools)) <= FINAL, "all jobs are finished")

    batch = [each for each in tools.items("analysisjobs") if each["status"].get("queueName") == "batch"]
    assert len(batch) >= BY_KUBECTL + BY_REST + BETWEEN
    batch = [each for each in batch if each["metadata"]["name"] != "stopped"]
    for each in batch:
        assert each["status"]["phase"] == "Succeeded", each["status"]
        assert each["status"]["attempt"] == 1, f"{each['metadata']['name']} was tried more than once"
    ids = [each["spec"].get("jobId") or each["metadata"]["uid"] for each in batch]
    await until(
        lambda: all(
            each["status"].get("announcedAt")
            for each in tools.items("analysisjobs") if each["status"].get("queueName") == "batch"
        ),
        "all ends are announced",
    )  # fmt: skip
    async with Client(load_connection(str(cluster.running().kubeconfig)), user_agent="users") as client:
        deadline = time.monotonic() + 120
        while True:
            rows, different = await differences(convex, client, NAMESPACE, SHARED_CLUSTER)
            if not different or time.monotonic() > deadline:
                break
            await asyncio.sleep(1)
    assert different == []
    progress_of(began, f"{len(batch)} jobs are done, {rows} rows of Convex are equal")

    # 6. The removal.
    removed = time.time()
    await call(tools.helm, "uninstall", RELEASE, "--wait", "--timeout=10m")
    kinds = tools.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    cluster_wide = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    ours = ("-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name")

    def left_over() -> set[str]:
        left = tools.kubectl("get", ",".join(kinds), *ours).split() + tools.kubectl("get", cluster_wide, *ours).split()
        return {name for name in left if not name.startswith(("endpointslice", "event"))}

    expected = {f"analysisqueue.{names.GROUP}/default", f"persistentvolumeclaim/{RELEASE}-results",
                f"persistentvolumeclaim/ledger-{RELEASE}-relay-0"}  # fmt: skip
    await until(lambda: left_over() <= expected, "what is removed is gone", 120)
    assert len(tools.items("analysisjobs")) >= len(batch), "jobs outlive the release"
    assert fields_of(tools) >= before | added, "the custom resources outlive the release"
    return {
        "installed": installed, "attempts": sum(each["status"]["attempt"] for each in batch), "rows": rows, "ids": ids,
        "left": ", ".join(sorted(left_over())), "removed": removed,
    }  # fmt: skip


def gateway_url(tools: Tools) -> str:
    """Where the gateway answers now: its Service is made anew after a rollback that removed it."""
    service = json.loads(tools.kubectl("get", "service", f"{RELEASE}-gateway", "-o", "json"))
    return f"http://{service['spec']['clusterIP']}"


def a_pause_outlasts_an_upgrade_and_its_rollback(tools: Tools, new: dict[str, Any]) -> None:
    """The default queue is left paused by both; it runs again afterwards."""
    mode = ("get", "aq", "default", "-o", "jsonpath={.spec.mode} {.spec.maxQueueSize}")
    patch = ("patch", "aq", "default", "--type=merge", "-p")
    tools.kubectl(*patch, '{"spec":{"mode":"Paused"}}')
    tools.install("upgrade", CHART, new | {"defaultQueue": {"maxQueueSize": 200}})
    assert tools.kubectl(*mode) == "Paused 200"
    tools.helm("rollback", RELEASE, "4", "--wait", "--timeout=10m")
    assert tools.kubectl(*mode) == "Paused 100"
    tools.kubectl(*patch, '{"spec":{"mode":"Running"}}')


async def every_right_is_used(tools: Tools, rest: AsyncClient, convex: ConvexTestServer, key: str, hook: str) -> None:
    """Bring about what the rights of the chart are there for."""
    tools.apply(queue("failing", hook, maxRetries=0), job("broken", "failing", seconds="1", fail="yes"))
    by_app = await convex.submit(SHARED_CLUSTER, key="e2e", videoUrl="https://example.com/app.mp4", queue="batch")
    await until(lambda: phases(tools, "broken")["Failed"], "a job is given up")
    await until(
        lambda: any(each["spec"].get("jobId") == by_app for each in tools.items("analysisjobs")),
        "what an app asked for is there",
    )
    # A group of dead letters is replayed.
    group = await until(lambda: _status(tools, "failing").get("deadLetterGroups"), "dead letters are grouped")
    tools.kubectl("annotate", "aq", "failing", f"{names.GROUP}/replay={group[0]['fingerprint']}")
    await until(lambda: _status_of_job(tools, "broken").get("observedReplay") == 1, "the group is replayed")
    await until(lambda: phases(tools, "broken")["Failed"], "it fails again")
    await until(
        lambda: any(
            each["spec"].get("jobId") == by_app and each["status"]["phase"] == "Succeeded"
            for each in tools.items("analysisjobs")
        ),
        "what an app asked for is done",
    )
    # The gateway: a change of a job and of a queue, why a job waits, and a Kubernetes token of somebody's.
    await rest.administer("pause", "default")
    waiting = await rest.submit("https://example.com/waiting.mp4", queue="default")
    await rest.prioritize(waiting.job_id, "URGENT")
    await rest.get(waiting.job_id)
    await rest.cancel(waiting.job_id)
    await rest.administer("resume", "default")
    assert (await rest.queue_metrics()).performance.uptime_seconds >= 0
    token = tools.kubectl("create", "token", "default").strip()
    async with AsyncClient(gateway_url(tools), api_key=token) as somebody:
        with pytest.raises(NotAllowed):
            await somebody.administer("pause", "default")
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http:
        done = await http.get(f"{gateway_url(tools)}/api/v1/jobs/{by_app}/logs")
        assert done.status_code == 200, done.text
    # A running attempt is stopped.
    tools.apply(job("stopped", seconds="600"))
    await until(lambda: phases(tools, "stopped")["Running"], "it runs")
    tools.kubectl("patch", "aj", "stopped", "--type=merge", "-p", json.dumps({"spec": {"cancel": True}}))
    await until(lambda: phases(tools, "stopped")["Cancelled"], "it is stopped")
    # The purge of what is finished.
    tools.kubectl(
        "patch", "aq", "failing", "--type=merge", "-p", json.dumps({"spec": {"retention": {"failedSeconds": 0}}})
    )
    await until(lambda: not phases(tools, "broken"), "it is purged")


def _status(tools: Tools, name: str) -> dict[str, Any]:
    return dict(json.loads(tools.kubectl("get", "aq", name, "-o", "json")).get("status", {}))


def _status_of_job(tools: Tools, name: str) -> dict[str, Any]:
    return dict(json.loads(tools.kubectl("get", "aj", name, "-o", "json")).get("status", {}))
