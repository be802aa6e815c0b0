"""A video whose URL is signed, from its submission through the gateway to the real worker that fetches it. The worker
is a process beside the pod that the fake kubelet plays, with the pod's environment and a token that is bound to it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipfake.worker import Worker
from klipsource.server import content, only_with, serving
from klipstream_pipeline.testvideo import make_video

SIGNATURE = "X-Amz-Expires=900&X-Amz-Signature=canary-5f1d"


def pod_of(stack, job_id: str) -> dict[str, Any]:
    (uid,) = [each["metadata"]["uid"] for each in stack.world.items("aj") if each["spec"]["jobId"] == job_id]
    selector = f"analysis.klipstream.io/job-uid={uid}"

    def pods() -> list[dict[str, Any]]:
        return list(json.loads(stack.world.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"])

    stack.world.until(lambda: bool(pods()), "its pod")
    return pods()[0]


@pytest.mark.timeout(900)  # yt-dlp is a large import
def test_a_worker_fetches_a_video_by_the_signature_that_nobody_else_is_shown(stack, tmp_path: Path):
    make_video(tmp_path / "film.mp4", 20.0, 7)
    results, params, token = tmp_path / "results", tmp_path / "params.json", tmp_path / "token"
    results.mkdir()
    stack.world.queue(
        "signed", results={"url": results.as_uri()}, sources={"allowedNetworks": ["127.0.0.1/32"]}, maxRetries=0
    )
    stack.world.until(lambda: stack.anyone.get("/api/v1/queue/status?queue=signed").status_code == 200, "the queue")
    with serving() as source:
        source.answers["/film.mp4"] = only_with(SIGNATURE, content((tmp_path / "film.mp4").read_bytes()))
        plain = source.url("/film.mp4")
        assert httpx.get(plain, trust_env=False).status_code == 403
        job_id = stack.submit(video_url=f"{plain}?{SIGNATURE}", queue="signed", params={"fake_seconds": "3000"})
        pod = pod_of(stack, job_id)
        params.write_text(json.dumps({"transcriber": "none"}))
        token.write_text(Worker(stack.world, pod["metadata"]["name"]).token)
        given = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"] if "value" in each}
        assert given["ANALYSIS_VIDEO_URL"] == plain
        mounted = {
            "ANALYSIS_PARAMS_FILE": str(params), "ANALYSIS_TOKEN_FILE": str(token),
            "ANALYSIS_PROGRESS_URL": f"http://127.0.0.1:{stack.world.operator.progress_port}/v1/progress",
        }  # fmt: skip
        worker = subprocess.run(
            [sys.executable, "-m", "klipstream_pipeline", "analyze"], env=os.environ | given | mounted, cwd=tmp_path,
            capture_output=True, text=True, check=False, timeout=800,
        )  # fmt: skip
    said = worker.stdout + worker.stderr
    assert worker.returncode == 0, said
    (result,) = results.rglob("result.json")
    everywhere = said + "".join(path.read_text(errors="replace") for path in results.rglob("*") if path.is_file())
    assert plain in result.read_text()
    assert "canary-5f1d" not in everywhere
    assert "canary-5f1d" not in stack.world.kubectl("get", "aj,pods,jobs", "-o", "json")
    stack.admin.post(f"/api/v1/jobs/{job_id}/cancel")
