"""Convex from end to end: jobs on a real node that a browser shows, and a run in which everything goes wrong."""

import asyncio
import contextlib
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster, Running
from klipconvex.compare import RESOURCES, differences
from klipconvex.dashboard import dashboard
from klipconvex.server import SECRET, ConvexTestServer, functions_served
from klipfake.processes import Operator, Process
from klipnode.stage import on_stage
from klipstream_kube import ApiError, Client, Unreachable, load_connection
from klipwebhook.stage import Relay

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "build" / "images" / "pipeline.tar"
SHOTS = ROOT / "build" / "convex"
CLUSTER = "e2e"
JOBS, KILLS = 150, 8
PATIENCE_SECONDS = 240.0


def relay_of(kubeconfig: Path, folder: Path, namespace: str, convex: ConvexTestServer) -> Relay:
    """A relay with its Convex side, which sweeps rarely: what a kill left is found at the start."""
    secret = folder / "convex-secret"
    secret.write_text(SECRET)
    return Relay(
        kubeconfig, folder, namespace,
        KLIPSTREAM_CONVEX_URL=convex.url, KLIPSTREAM_CONVEX_SECRET_FILE=str(secret),
        KLIPSTREAM_CONVEX_CLUSTER=CLUSTER, KLIPSTREAM_CONVEX_NAMESPACE=namespace,
        KLIPSTREAM_CONVEX_FLUSH_SECONDS="0.1", KLIPSTREAM_CONVEX_HEARTBEAT_SECONDS="2",
        KLIPSTREAM_CONVEX_REQUESTS_SECONDS="0.5", KLIPSTREAM_LEASE_SECONDS="15",
    )  # fmt: skip


async def until_equal(convex: ConvexTestServer, client: Client, namespace: str) -> tuple[int, list[str]]:
    """Wait until rows and cluster are the same; what was compared, and what differs when patience is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        compared, found = await differences(convex, client, namespace, CLUSTER)
        if not found or time.monotonic() > deadline:
            return compared, found
        await asyncio.sleep(0.3)


# --- everything goes wrong ------------------------------------------------------------------------------------------


@pytest.fixture
async def client(control_plane: Running, custom_resources: None) -> AsyncIterator[Client]:
    async with Client(load_connection(str(control_plane.kubeconfig)), user_agent="users") as client:
        yield client


@pytest.mark.timeout(1200)
async def test_convex_rows_equal_the_cluster_after_lost_answers_storms_and_killed_relays(
    control_plane: Running, client: Client, namespace: str, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace)
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    async with functions_served(tmp_path / "convex.log") as convex:
        relay = relay_of(control_plane.kubeconfig, tmp_path, namespace, convex)
        with running(operator, kubelet, relay):
            await convex.faults(unavailable=0.25, dropAfterCommit=0.25, delayMilliseconds=20)
            template = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
            for name in ("default", "bulk"):
                await client.create(
                    RESOURCES["queue"], _object(name, workerTemplate=template, maxConcurrentJobs=8), namespace
                )
            killing = asyncio.create_task(kill_often(relay))
            submitted = await users(convex, client, namespace, random.Random(7))
            kills = await killing
            await until_finished(client, namespace)
            trouble = await convex.figures()
            await convex.faults()
            compared, found = await until_equal(convex, client, namespace)
            jobs, _ = await client.list(RESOURCES["job"], namespace)
            ids = [each["spec"]["jobId"] for each in jobs if "jobId" in each["spec"]]
    figures(
        f"convex: {kills} kills of the relay, {trouble['unavailable']:.0f} answers of 503,"
        f" {trouble['dropped']:.0f} lost after the commit, {submitted} jobs submitted in Convex became {len(set(ids))};"
        f" {compared} rows compared, {len(found)} rows differ"
    )
    assert found == []
    assert (len(ids), len(set(ids))) == (submitted, submitted)
    assert compared >= JOBS // 3


@contextlib.contextmanager
def running(*processes: Process) -> Iterator[None]:
    """While the block lasts."""
    try:
        for each in processes:
            each.start()
        yield
    finally:
        for each in processes:
            each.kill()


async def users(convex: ConvexTestServer, client: Client, namespace: str, rng: random.Random) -> int:
    """Submit by both ways, change priorities, cancel, delete; how many were submitted in Convex."""
    names: list[str] = []
    submitted = 0
    for number in range(JOBS):
        match rng.randrange(6):
            case 0 | 1 | 2:
                names.append(f"job-{number}")
                params = {"fake_seconds": f"{rng.uniform(0.1, 2):.1f}"}
                made = _job(names[-1], queueName=rng.choice(("default", "bulk")), params=params)
                await client.create(RESOURCES["job"], made, namespace)
            case 3:
                submitted += await _submitted(convex, number)
            case 4 if names:
                priority = rng.choice(("LOW", "HIGH", "URGENT"))
                await client.patch(RESOURCES["job"], rng.choice(names), namespace, {"spec": {"priority": priority}})
            case 5 if names:
                await client.delete(RESOURCES["job"], names.pop(rng.randrange(len(names))), namespace)
        await asyncio.sleep(0.1)
    return submitted


async def _submitted(convex: ConvexTestServer, number: int) -> int:
    """As an app does it that does not know whether its call came through: again, with the same key; 1."""
    submission = {"videoUrl": f"https://example.com/{number}", "queue": "default"}
    while True:
        with contextlib.suppress(Exception):
            await convex.submit(CLUSTER, key=f"key-{number}", **submission)
            return 1
        await asyncio.sleep(0.1)


async def kill_often(relay: Relay) -> int:
    """kill -9 at moments that nobody chose, and start again as a kubelet does."""
    rng = random.Random(9)
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.5, 4.0))
        await asyncio.to_thread(relay.kill)
        relay.start()
    return KILLS


async def until_finished(client: Client, namespace: str) -> None:
    """Until the cluster is quiet."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(ApiError, Unreachable):
            jobs, _ = await client.list(RESOURCES["job"], namespace)
            left = [each["metadata"]["name"] for each in jobs if not each["status"].get("finishedAt")]
            if not left:
                return
        assert time.monotonic() < deadline, f"unfinished: {left}"
        await asyncio.sleep(0.3)


def _object(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "analysis.klipstream.io/v1alpha1",
        "kind": "AnalysisQueue",
        "metadata": {"name": name},
        "spec": spec,
    }


def _job(name: str, **spec: Any) -> dict[str, Any]:
    video = {"videoUrl": f"https://example.com/{name}.mp4", "videoId": name}
    return {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": name},
            "spec": video | spec}  # fmt: skip


# --- a browser looks on ---------------------------------------------------------------------------------------------


POSTING = r"""
python3 - << 'END'
import json, os, time, urllib.request
for percentage, stage in ((10, "Downloading"), (30, "Transcribing"), (60, "Analyzing"), (90, "Finding Highlights")):
    body = json.dumps({"percentage": percentage, "stage": stage}).encode()
    token = open(os.environ["ANALYSIS_TOKEN_FILE"]).read().strip()
    request = urllib.request.Request(os.environ["ANALYSIS_PROGRESS_URL"], body, {"Authorization": "Bearer " + token})
    for _ in range(50):
        try:
            urllib.request.urlopen(request, timeout=5)
            break
        except OSError:
            time.sleep(0.2)
    time.sleep(6)
END
"""


@pytest.mark.node
@pytest.mark.sweep
@pytest.mark.skipif(os.geteuid() != 0, reason="a whole node needs root")
@pytest.mark.timeout(900)
async def test_convex_shows_jobs_of_a_real_node_live_in_a_browser(tmp_path: Path) -> None:
    cluster = Cluster("e2e-convex")
    try:
        await asyncio.to_thread(cluster.up)
        await asyncio.to_thread(subprocess.run, [ROOT / "hack/images/build.sh", "pipeline"], check=True)
        await asyncio.to_thread(cluster.load_image, ARCHIVE)
        async with (
            functions_served(tmp_path / "convex.log", KLIPSTREAM_PUBLIC_LISTS="true") as convex,
            on_stage(cluster, "convex", ROOT / "crds", tmp_path) as stage,
            dashboard(convex.url, tmp_path / "page") as page,
        ):
            relay = relay_of(cluster.running().kubeconfig, tmp_path, stage.namespace, convex)
            with running(relay):
                await stage.queue("default", maxConcurrentJobs=1)
                await page.get_by_text("Live").wait_for(timeout=120_000)
                for name, priority in (("first", "LOW"), ("second", "URGENT"), ("broken", "LOW")):
                    script = POSTING if name != "broken" else "exit 3"
                    await stage.submit(name, "default", script, priority=priority, videoId=name, maxRetries=0)
                row = page.locator("tr", has_text="second")
                await row.get_by_text("processing").wait_for(timeout=180_000)
                bar = row.locator("progress")
                seen = {await bar.get_attribute("value")}
                SHOTS.mkdir(parents=True, exist_ok=True)
                deadline = time.monotonic() + 120
                while len(seen - {"0", "100", None}) < 2 and time.monotonic() < deadline:
                    seen.add(await bar.get_attribute("value"))
                    await page.screenshot(path=SHOTS / "dashboard.png")
                    await asyncio.sleep(0.5)
                assert len(seen - {"0", "100", None}) >= 2, f"the bar stood at {seen}"
                for name, status in (("first", "completed"), ("second", "completed"), ("broken", "failed")):
                    shown = page.locator(f'tr[data-status="{status}"]', has_text=name)
                    await shown.wait_for(timeout=240_000)
                await page.screenshot(path=SHOTS / "dashboard-finished.png")
                await stage.client.delete(RESOURCES["job"], "broken", stage.namespace)
                await page.locator("tr", has_text="broken").wait_for(state="detached", timeout=60_000)
    finally:
        await asyncio.to_thread(cluster.down)
