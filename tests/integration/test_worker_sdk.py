"""The worker SDK and the shell helper against the operator's own endpoint, with tokens of the real API server."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipfake.worker import Worker
from klipfake.world import World
from klipstream_worker import AnalysisTask, Assignment, Cancelled, StaleAttempt

ROOT = Path(__file__).resolve().parents[2]
MakeTask = Callable[..., AnalysisTask]


@pytest.fixture
def make_task(world: World, tmp_path: Path) -> MakeTask:
    """Submit a job and take the part of its worker."""

    def make(**params: str) -> AnalysisTask:
        world.queue(retryDelaysSeconds=[0], cancelGraceSeconds=600)
        world.job("film", type="vod", params=params)
        world.until_phase("film", "Starting", "Running")
        world.until(lambda: bool(world.items("pods")), "its pod exists")
        token = tmp_path / "token"
        token.write_text(Worker(world, world.items("pods")[0]["metadata"]["name"]).token)
        assignment = Assignment(
            video_url="https://example.com/film.mp4",
            job_id=world.get("aj", "film")["metadata"]["uid"],
            progress_url=f"http://127.0.0.1:{world.operator.progress_port}/v1/progress",
            token_file=token,
            termination_log=tmp_path / "termination",
        )
        return AnalysisTask(assignment, handle_signals=False)

    return make


def progress(world: World) -> dict[str, Any]:
    return dict(world.get("aj", "film")["status"].get("progress", {}))


def analyse(task: AnalysisTask, seconds: float = 60.0) -> None:
    ends_at = time.monotonic() + seconds
    with task, task.stage("Analyzing") as stage:
        while time.monotonic() < ends_at:
            stage.report(0.5, "half way")
            time.sleep(0.05)


def test_what_the_sdk_reports_ends_up_in_the_status_and_in_metrics(world: World, make_task: MakeTask) -> None:
    with make_task(fake_seconds="25") as task:
        with task.stage("Downloading"):
            task.save_checkpoint({"segment": 3})
        with task.stage("Analyzing") as stage:
            stage.report(0.5, "half way")
            world.until(lambda: progress(world).get("percentage") == 60, "60 % are shown")
            assert progress(world)["stage"] == "Analyzing"
            assert progress(world)["checkpoint"] == '{"segment":3}'
            assert task.deadline is not None
    world.until_phase("film", "Succeeded")
    (attempt,) = world.get("aj", "film")["status"]["attempts"]
    took = {each["stage"]: each for each in attempt["resources"]}
    assert set(took) == {"Downloading", "Analyzing"}
    assert all(each["peakMemoryBytes"] > 2**20 for each in took.values())
    assert took["Analyzing"]["wallSeconds"] > 0
    metrics = httpx.get(f"http://127.0.0.1:{world.operator.metrics_port}/metrics", trust_env=False).text
    counted = [line for line in metrics.splitlines() if line.startswith("klipstream_stage_peak_memory_bytes_count")]
    assert len(counted) == 2
    assert all('type="vod"' in line and line.endswith(" 1.0") for line in counted)


def test_a_cancel_ends_the_analysis(world: World, make_task: MakeTask) -> None:
    task = make_task(fake_seconds="120")
    threading.Timer(1.0, world.change, ("aj", "film"), {"cancel": True}).start()
    with pytest.raises(SystemExit) as end:
        analyse(task)
    assert end.value.code == Cancelled.exit_code


def test_a_stale_attempt_ends(world: World, make_task: MakeTask) -> None:
    task = make_task(fake_seconds="2", fake_exits="1,0")
    world.until(lambda: world.get("aj", "film")["status"]["attempt"] == 2, "the second attempt began")
    with pytest.raises(SystemExit) as end:
        analyse(task)
    assert end.value.code == StaleAttempt.exit_code


def test_an_operator_that_is_away_for_a_while_does_not_disturb_the_analysis(world: World, make_task: MakeTask) -> None:
    task = make_task(fake_seconds="120")

    def away() -> None:
        world.operator.kill()
        time.sleep(8)
        world.operator.start()

    outage = threading.Thread(target=away)
    with task, task.stage("Analyzing") as stage:
        stage.report(0.25)
        world.until(lambda: progress(world).get("percentage") == 50, "50 % are shown")
        outage.start()
        for share in (0.5, 0.75):
            stage.report(share)
            assert outage.is_alive(), "it does not wait for the operator"
            time.sleep(2)
        outage.join()
        world.until(lambda: progress(world).get("percentage") == 70, "what was reported meanwhile is shown")


def test_the_shell_helper_posts_with_the_workers_token(world: World, make_task: MakeTask) -> None:
    task = make_task(fake_seconds="60").assignment
    assert task.progress_url is not None
    environment = {"PATH": os.environ["PATH"], "ANALYSIS_PROGRESS_URL": task.progress_url,
                   "ANALYSIS_TOKEN_FILE": str(task.token_file)}  # fmt: skip

    def post(*arguments: str) -> int:
        command = [str(ROOT / "worker" / "bin" / "klipstream-progress"), *arguments]
        return subprocess.run(command, env=environment, check=False, timeout=30).returncode

    world.until(lambda: post("--checkpoint", "c 1", "45", "Analyzing", 'say "é"') == 0, "it is taken")
    world.until(lambda: progress(world).get("percentage") == 45, "it is shown")
    assert (progress(world)["message"], progress(world)["checkpoint"]) == ('say "é"', "c 1")
    world.change("aj", "film", cancel=True)
    world.until(lambda: post("46", "Analyzing") == 130, "it is told to stop")
