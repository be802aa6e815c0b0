"""Sealed parameters on their way to the worker, with tokens of the real API server: who sees them, and who does not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from klipcluster.places import clusters_folder
from klipfake.files import contents
from klipfake.processes import Operator, Process
from klipfake.worker import Worker
from klipfake.world import World, playing
from klipstream_sealing import KeyRing, SealedFields, seal

SECRET = "opensesame-4711-plain"
RING = KeyRing.new(datetime.now(UTC))


@pytest.fixture
def sealing_world(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "ring.json").write_text(RING.to_json())
    operator = Operator(
        control_plane.kubeconfig, tmp_path / "operator.log", namespace,
        KLIPSTREAM_SEALING_RING=str(tmp_path / "ring.json"), KLIPSTREAM_LOG_LEVEL="DEBUG",
    )  # fmt: skip
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as world:
        yield world


def started(world: World, sealed: str, *, job_id: str | None = "job-1", seconds: int = 20) -> Worker:
    world.queue(retryDelaysSeconds=[0])
    world.job("film", sealed=sealed, params={"fake_seconds": str(seconds)}, **({"jobId": job_id} if job_id else {}))
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    world.until_phase("film", "Starting", "Running")
    return Worker(world, world.items("pods")[0]["metadata"]["name"])


def sealed_for(namespace: str, job_id: str = "job-1") -> str:
    return seal(SealedFields(params={"apiKey": SECRET}).to_json(), RING.public, namespace, job_id)


def test_the_first_reply_alone_holds_the_opened_parameters(sealing_world: World, control_plane) -> None:
    world = sealing_world
    worker = started(world, sealed_for(world.namespace))
    first = worker.post(1)
    assert first.status_code == 200, first.text
    assert first.json()["sealed_params"] == {"apiKey": SECRET}
    second = worker.post(2)
    assert "sealed_params" not in second.json()
    assert worker.post(3, sealed=True).json()["sealed_params"] == {"apiKey": SECRET}, "a reply may get lost"
    assert worker.post(4, token="another").status_code == 401

    world.until(lambda: world.get("aj", "film")["status"]["progress"]["percentage"] >= 2, "progress is written")
    seen = world.kubectl("get", "aj,aq,jobs,pods,events,configmaps", "-o", "json")
    assert "film" in seen
    assert SECRET not in seen
    said = world.operator.said()
    assert "film" in said
    assert SECRET not in said
    if control_plane.audit_log is not None:
        assert SECRET not in control_plane.audit_log.read_text(errors="replace")
    content = [each for _, each in contents(clusters_folder() / control_plane.name / "etcd")]
    if control_plane.control_plane_only and content:  # not on kind
        assert any(world.namespace.encode() in each for each in content), "this is where things are kept"
        assert not any(SECRET.encode() in each for each in content)


def test_a_sealed_url_is_in_the_first_reply_and_nowhere_else(sealing_world: World) -> None:
    world = sealing_world
    url = f"https://example.com/film.mp4?X-Amz-Signature={SECRET}"
    sealed = seal(SealedFields(video_url=url).to_json(), RING.public, world.namespace, "job-1")
    worker = started(world, sealed)
    first = worker.post(1).json()
    assert (first["sealed_video_url"], first["sealed_params"]) == (url, {})
    assert "sealed_video_url" not in worker.post(2).json()
    seen = world.kubectl("get", "aj,aq,jobs,pods,events", "-o", "json")
    assert "ANALYSIS_SEALED" in seen
    assert SECRET not in seen
    assert SECRET not in world.operator.said()


@pytest.mark.parametrize(
    ("job_id", "sealed_id", "other_namespace", "said"),
    [("job-1", "job-2", False, "job id job-1"), ("job-1", "job-1", True, "namespace"), (None, "job-1", False, "jobId")],
)
def test_what_was_sealed_for_another_job_is_not_opened(
    sealing_world: World, job_id: str | None, sealed_id: str, other_namespace: bool, said: str
) -> None:
    world = sealing_world
    sealed = sealed_for("elsewhere" if other_namespace else world.namespace, sealed_id)
    reply = started(world, sealed, job_id=job_id).post(1).json()
    assert "sealed_params" not in reply
    assert said in reply["sealed_problem"]
    assert reply["sealed_retryable"] is False
    assert reply["sealed_problem"].removeprefix("the sealed fields cannot be opened: ") in world.operator.said()


def test_without_a_ring_a_worker_is_told_why_it_gets_nothing(world: World) -> None:
    reply = started(world, sealed_for(world.namespace)).post(1).json()
    assert "not set up" in reply["sealed_problem"]
    assert reply["sealed_retryable"] is True


def test_a_job_without_sealed_parameters_hears_nothing_of_them(world: World) -> None:
    world.queue()
    world.job("film", params={"fake_seconds": "20"})
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    world.until_phase("film", "Starting", "Running")
    reply = Worker(world, world.items("pods")[0]["metadata"]["name"]).post(1, sealed=True).json()
    assert set(reply) == {"desired", "min_interval_seconds", "deadline"}
