"""Progress from a worker's post to `kubectl get`, with tokens of the real API server."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from klipfake.worker import Worker
from klipfake.world import World


@pytest.fixture
def seconds() -> int:
    """How long the attempt runs."""
    return 60


@pytest.fixture
def worker(world: World, seconds: int) -> Worker:
    world.queue(retryDelaysSeconds=[0])
    world.job("film", params={"fake_seconds": str(seconds), "fake_exits": "1,0"})
    world.until_phase("film", "Starting", "Running")
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    return Worker(world, world.items("pods")[0]["metadata"]["name"])


def progress(world: World) -> dict[str, Any]:
    return dict(world.get("aj", "film")["status"].get("progress", {}))


def test_a_post_shows_in_kubectl_get_and_never_falls(world: World, worker: Worker) -> None:
    first = worker.post(42, message="half way", estimated_completion_seconds=30, checkpoint="c1")
    assert first.status_code == 200, first.text
    assert first.json()["desired"] == "Continue"
    assert first.json()["min_interval_seconds"] > 0
    world.until(lambda: progress(world).get("percentage") == 42, "the first post is written")
    assert world.phase("film") == "Running"
    columns = world.kubectl("get", "aj", "film", "--no-headers").split()
    assert columns[2:5] == ["Running", "42", "Analyzing"]
    for percentage in (43, 44, 30):
        assert worker.post(percentage).status_code == 200
    world.until(lambda: progress(world).get("percentage") == 44, "later posts are written together, the highest counts")
    assert progress(world)["checkpoint"] == "c1"


@pytest.mark.parametrize("percentage", [-1, 101, "half", None])
def test_a_bad_post_is_refused_by_its_field(worker: Worker, percentage: Any) -> None:
    answer = worker.post(percentage)
    assert answer.status_code == 400
    assert "percentage" in answer.json()["detail"]


def test_only_a_workers_own_token_counts(world: World, worker: Worker) -> None:
    plain = world.kubectl("create", "token", "default").strip()
    unbound = world.kubectl("create", "token", "default", "--audience=klipstream-progress").strip()
    for token in ("nonsense", plain, unbound):
        assert worker.post(50, token=token).status_code == 401


def test_a_pod_that_only_carries_our_labels_is_stale(world: World, worker: Worker) -> None:
    uid = world.get("aj", "film")["metadata"]["uid"]
    labels = f"analysis.klipstream.io/job-uid={uid},analysis.klipstream.io/attempt=1"
    world.kubectl("run", "impostor", "--image=none", f"--labels={labels}", "--restart=Never")
    impostor = Worker(world, "impostor")
    assert impostor.post(99).status_code == 409


@pytest.mark.parametrize("seconds", [14])
def test_a_stale_attempt_is_told_to_stop(world: World, worker: Worker) -> None:
    world.until(lambda: world.get("aj", "film")["status"]["attempt"] == 2, "the second attempt began")
    assert worker.post(80).status_code == 409


def test_a_cancel_reaches_the_worker(world: World, worker: Worker) -> None:
    assert worker.post(10).status_code == 200
    world.kubectl("patch", "aj", "film", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    seen: list[tuple[int, str]] = []

    def told() -> bool:
        answer = worker.post(11)
        seen.append((answer.status_code, answer.json().get("desired", "")))
        return seen[-1] == (200, "Cancel") or seen[-1][0] in (401, 409)

    wait_for(told)
    world.until_phase("film", "Cancelled")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
