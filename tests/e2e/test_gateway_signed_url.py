"""A pre-signed video URL through the gateway on the real node: the reference worker's pod unseals and fetches it."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster
from klipcluster.node import ADDRESS
from klipgate.process import Gateway
from klipnode.stage import IMAGE, on_stage
from klipsource.server import content, only_with, serving
from klipstream_pipeline.testvideo import make_video
from klipstream_sealing import KeyRing

pytestmark = [
    pytest.mark.node,
    pytest.mark.sweep,
    pytest.mark.skipif(os.geteuid() != 0, reason="a whole node needs root"),
    pytest.mark.timeout(1500),
]
ROOT = Path(__file__).resolve().parents[2]
HOME = "signed"
SIGNATURE = "X-Amz-Expires=900&X-Amz-Signature=canary-5f1d"
PATIENCE_SECONDS = 600.0
WORKER: dict[str, Any] = {
    "name": "worker",
    "image": IMAGE,
    "args": ["analyze"],
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}, {"name": "results", "mountPath": "/results"}],
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A node with today's worker."""
    subprocess.run([ROOT / "hack" / "images" / "build.sh", "pipeline"], check=True, capture_output=True)
    made = Cluster("signed-test")
    try:
        made.up()
        made.load_image(ROOT / "build" / "images" / "pipeline.tar")
        yield made
    finally:
        made.down()


async def test_the_workers_pod_fetches_a_video_by_a_signature_that_the_api_server_never_saw(
    cluster: Cluster, tmp_path: Path
) -> None:
    ring = KeyRing.new(datetime.now(UTC))
    (tmp_path / "ring.json").write_text(ring.to_json())
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(0o1777)
    tmp_path.chmod(0o755)
    make_video(tmp_path / "film.mp4", 20.0, 7)
    gateway = Gateway(cluster.running().kubeconfig, tmp_path, HOME, KLIPSTREAM_SEALING_KEY=str(ring.public))
    settings = {"KLIPSTREAM_SEALING_RING": str(tmp_path / "ring.json")}
    async with on_stage(cluster, HOME, ROOT / "crds", tmp_path, **settings) as stage:
        with serving(ADDRESS) as source:
            source.answers["/film.mp4"] = only_with(SIGNATURE, content((tmp_path / "film.mp4").read_bytes()))
            volumes = [
                {"name": "scratch", "emptyDir": {}},
                {"name": "results", "hostPath": {"path": str(results), "type": "Directory"}},
            ]
            await stage.queue(
                "default", results={"url": "file:///results"}, sources={"allowedNetworks": [f"{ADDRESS}/32"]},
                workerTemplate={"spec": {"containers": [WORKER], "volumes": volumes}}, maxRetries=0,
            )  # fmt: skip
            gateway.start()
            try:
                await asyncio.to_thread(gateway.wait)
                with gateway.client("submit") as client:
                    body = {"video_url": f"{source.url('/film.mp4')}?{SIGNATURE}", "queue": "default",
                            "params": {"transcriber": "none"}}  # fmt: skip
                    taken = await asyncio.to_thread(client.post, "/api/v1/analysis", json=body)
                assert taken.status_code == 202, taken.text
                jobs = stage.objects["AnalysisJob"]
                await stage.until(lambda: len(jobs) == 1, "the job is seen")
                (name,) = jobs
                await stage.until(lambda: stage.finished(name), "it is finished", PATIENCE_SECONDS)
            finally:
                gateway.kill()
        assert stage.phase(name) == "Succeeded", stage.status(name)
        assert jobs[name]["spec"]["videoUrl"] == source.url("/film.mp4")
        assert "canary-5f1d" not in str(stage.objects)
    (result,) = results.rglob("result.json")
    assert "canary-5f1d" not in result.read_text()
    assert "canary-5f1d" not in stage.operator.said() + gateway.said()
