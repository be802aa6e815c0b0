"""Progress from the logs of workers that post nothing, through the real API server from a node that serves logs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klipfake.processes import Operator, Process
from klipfake.world import World, playing


@pytest.fixture
def world(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace, KLIPSTREAM_LOG_LEVEL="DEBUG")
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log", "--node")
    try:
        with playing(kubectl, namespace, operator, kubelet) as world:
            yield world
    finally:
        kubectl("delete", "nodes", "--all", "--wait=false")


def script(*lines: tuple[float, str], seconds: int = 60, **more: str) -> dict[str, str]:
    return {"fake_seconds": str(seconds), "fake_log_script": json.dumps(lines)} | more


def progress(world: World, name: str = "film") -> dict[str, Any]:
    return dict(world.get("aj", name)["status"].get("progress", {}))


def until_percentage(world: World, percentage: float, name: str = "film") -> None:
    world.until(lambda: progress(world, name).get("percentage") == percentage, f"{percentage} % of {name}")


def test_lines_of_the_log_are_progress(world: World) -> None:
    world.queue(progressFrom="Logs")
    lines = [(0.2, "loading"), (0.5, "::progress 10 Decoding: frame 1"), (15, "::progress 45 Finding Highlights")]
    world.job("film", params=script(*lines))
    until_percentage(world, 10)
    assert (progress(world)["stage"], progress(world)["message"]) == ("Decoding", "frame 1")
    assert world.phase("film") == "Running"
    until_percentage(world, 45)
    columns = world.kubectl("get", "aj", "film", "--no-headers").split()
    assert columns[2:6] == ["Running", "45", "Finding", "Highlights"]


def test_a_log_that_breaks_off_is_gone_on_with(world: World) -> None:
    world.queue(progressFrom="Logs")
    lines = [(float(n), f"::progress {n} Decoding") for n in range(1, 16)]
    world.job("film", params=script(*lines, fake_log_breaks="4", fake_log_refusals="1"))
    until_percentage(world, 15)


def test_a_new_leader_goes_on_with_the_logs(world: World) -> None:
    world.queue(progressFrom="Logs")
    lines = [(1.0, "::progress 10 Decoding"), (12.0, "::progress 60 Decoding")]
    world.job("film", params=script(*lines, seconds=60))
    until_percentage(world, 10)
    world.operator.kill()
    world.operator.start()
    until_percentage(world, 60)


def test_a_queue_that_does_not_opt_in_has_no_log_read(world: World) -> None:
    world.queue()
    world.job("film", params=script((0.2, "::progress 10 Decoding"), seconds=8))
    world.until_phase("film", "Succeeded")
    assert "percentage" not in progress(world)
    world.change("aq", "default", progressFrom="Logs")
    world.job("next", params=script((0.2, "::progress 10 Decoding"), seconds=20))
    until_percentage(world, 10, "next")


def test_a_worker_that_cannot_be_told_is_stopped_at_once(world: World) -> None:
    world.queue(progressFrom="Logs", cancelGraceSeconds=600)
    world.job("film", params=script((0.2, "::progress 10 Decoding"), seconds=120))
    until_percentage(world, 10)
    world.change("aj", "film", cancel=True)
    world.until_phase("film", "Cancelled")
