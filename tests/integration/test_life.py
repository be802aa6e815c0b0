"""The whole life of a job by kubectl alone: stops, capacity, partitions, with pods that a fake kubelet plays."""

import time
from datetime import datetime
from typing import Any

import pytest

from klipfake.worker import Worker
from klipfake.world import World, job


def accepted(world: World) -> bool:
    return all(item["status"].get("sequence") for item in world.items("aj"))


def seconds_without_node(pod: dict[str, Any]) -> float:
    """For how long a pod found no node; 0 where that was never said."""
    if pod["status"].get("phase") != "Pending":
        return 0
    said = [each for each in pod["status"].get("conditions", []) if each["reason"] == "Unschedulable"]
    return max(
        (time.time() - datetime.fromisoformat(each["lastTransitionTime"]).timestamp() for each in said), default=0
    )


def let_it_wait_for_room(world: World) -> None:
    """From now on who tries is not given up after a second: room that comes in that very second would end its pod."""
    world.change("aq", "default", capacity={"unschedulableSeconds": 600})
    world.until(lambda: any(seconds_without_node(pod) > 5 for pod in world.items("pods")), "one waits for its node")


def test_an_unschedulable_job_gives_its_slot_back_and_goes_on_with_the_same_attempt(world: World) -> None:
    world.room(1)
    world.queue(maxConcurrentJobs=2, capacity={"unschedulableSeconds": 1, "probeSeconds": 1, "probeAtMostSeconds": 4})
    world.job("first", params={"fake_seconds": "3600"})
    world.until_phase("first", "Running")
    world.apply(*(job(name, params={"fake_seconds": "1"}) for name in ("second", "third")))
    world.until(lambda: bool(world.get("aq", "default")["status"].get("capacity")), "the queue notes the shortage")
    shortage = world.get("aq", "default")["status"]["capacity"][0]
    assert shortage["missing"] == ["cpu"]

    def told() -> list[str]:
        conditions = (world.condition("aj", name, "CapacityAvailable") for name in ("second", "third"))
        return [condition["reason"] for condition in conditions if condition.get("status") == "False"]

    world.until(lambda: "InsufficientCpu" in told(), "a job says what is missing")
    assert world.condition("aq", "default", "CapacityAvailable")["status"] == "False"
    let_it_wait_for_room(world)
    world.room(2)
    wanted = {"first": "Running", "second": "Succeeded", "third": "Succeeded"}
    world.until(lambda: world.phases() == wanted, "the others succeed one after the other")
    for item in world.items("aj"):
        assert (item["status"]["attempt"], item["status"]["retries"]) == (1, 0), item["status"]
        assert len(item["status"]["attempts"]) == 1
    assert len(world.items("jobs")) == 3
    world.until(lambda: world.condition("aq", "default", "CapacityAvailable")["status"] == "True", "room again")
    world.change("aj", "first", cancel=True)
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "all slots are free")
    assert world.get("aq", "default")["status"]["totals"]["succeeded"] == 2
    assert world.get("aq", "default")["status"]["totals"]["retried"] == 0


def test_only_one_job_at_a_time_tries_whether_there_is_room(world: World) -> None:
    world.room(0)
    world.queue(maxConcurrentJobs=3, capacity={"unschedulableSeconds": 2, "probeSeconds": 1, "probeAtMostSeconds": 1})
    world.apply(*(job(f"job-{n}", params={"fake_seconds": "0.1"}) for n in range(5)))

    def tries() -> int:
        shortages = world.get("aq", "default")["status"].get("capacity", [])
        return int(shortages[0]["tries"]) if shortages else 0

    def going() -> int:
        return sum(not item["spec"].get("suspend") for item in world.items("jobs"))

    world.until(lambda: tries() >= 1 and going() <= 1, "the first ones found no node, and gave their slots back")
    most = 0
    while tries() < 4:
        most = max(most, going())
        time.sleep(0.05)
    assert most == 1
    assert {item["status"]["attempt"] for item in world.items("aj")} <= {0, 1}
    world.room(5)
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeed once there is room")


def test_a_job_that_waits_for_room_survives_a_killed_operator_and_a_cancel(world: World) -> None:
    world.room(0)
    world.queue(capacity={"unschedulableSeconds": 1, "probeSeconds": 2})
    world.job("stays")
    world.job("goes")
    for name in ("stays", "goes"):
        world.until(lambda n=name: world.condition("aj", n, "CapacityAvailable").get("status") == "False", "given back")
    world.operator.kill()
    world.change("aj", "goes", cancel=True)
    world.operator.start()
    world.until_phase("goes", "Cancelled")
    let_it_wait_for_room(world)
    world.room(1)
    world.until_phase("stays", "Succeeded")
    # Room that comes in the moment in which a try is given up may cost the attempt, but no retry.
    assert world.get("aj", "stays")["status"]["retries"] == 0
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "all slots are free")


def test_a_changed_worker_template_takes_over_from_an_attempt_that_found_no_node(world: World) -> None:
    world.room(0)
    world.queue(capacity={"unschedulableSeconds": 1, "probeSeconds": 600, "probeAtMostSeconds": 600})
    world.job("film")
    world.until(lambda: world.condition("aj", "film", "CapacityAvailable").get("status") == "False", "given back")
    world.room(1)
    smaller = {"containers": [{"name": "worker", "image": "none", "resources": {"requests": {"cpu": "1m"}}}]}
    world.change("aq", "default", workerTemplate={"spec": smaller})
    world.until_phase("film", "Succeeded")
    status = world.get("aj", "film")["status"]
    assert (status["attempt"], status["retries"]) == (2, 0)
    assert [entry.get("reason") for entry in status["attempts"]] == ["Superseded", None]


@pytest.mark.parametrize(
    ("reason", "failure", "phase"),
    [("ImagePullBackOff", "Transient", "BackingOff"), ("InvalidImageName", "Permanent", "Failed")],
)
def test_a_worker_that_cannot_start_fails_after_the_deadline(
    world: World, reason: str, failure: str, phase: str
) -> None:
    world.queue(startDeadlineSeconds=3, retryDelaysSeconds=[600])
    world.job("film", params={"fake_waiting": reason})
    world.until_phase("film", phase)
    attempt = world.get("aj", "film")["status"]["attempts"][0]
    assert (attempt["failureClass"], attempt["reason"]) == (failure, reason)
    assert "image" in attempt["message"]
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "the slot is free")


def test_a_stalled_attempt_is_stopped_and_burns_a_retry(world: World) -> None:
    world.queue(stall={"noProgressSeconds": 2}, retryDelaysSeconds=[600])
    world.job("film", params={"fake_seconds": "300"})
    world.until_phase("film", "BackingOff")
    status = world.get("aj", "film")["status"]
    assert status["retries"] == 1
    assert status["attempts"][0]["failureClass"] == "Stalled"
    assert world.condition("aj", "film", "Stalled")["status"] == "True"
    assert "noProgressSeconds" in status["attempts"][0]["message"]


def test_a_cancel_that_comes_too_late_says_so(world: World) -> None:
    world.queue()
    world.job("film", params={"fake_seconds": "6"})
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    world.operator.kill()
    world.until(lambda: world.items("pods")[0]["status"]["phase"] == "Succeeded", "the worker ends")
    world.change("aj", "film", cancel=True)
    world.operator.start()
    world.until_phase("film", "Succeeded")
    assert "too late" in world.condition("aj", "film", "Finished")["message"]


def test_not_before_holds_a_job_back(world: World) -> None:
    world.queue()
    due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
    world.job("later", notBefore=due)
    world.until_phase("later", "Succeeded")
    # As text "18.042Z" would come before "18Z".
    started = datetime.fromisoformat(world.get("aj", "later")["status"]["startedAt"])
    assert started >= datetime.fromisoformat(due)


def test_reserved_slots_are_kept_for_higher_priorities(world: World) -> None:
    world.queue(maxConcurrentJobs=2, reservedSlots={"URGENT": 1})
    world.apply(*(job(f"low-{n}", priority="LOW", params={"fake_seconds": "300"}) for n in range(3)))
    world.until(lambda: world.get("aq", "default")["status"].get("active") == 1, "one slot is used")
    world.job("urgent", priority="URGENT")
    world.until_phase("urgent", "Succeeded")
    assert sorted(world.phases().values()).count("Queued") == 2
    world.change("aq", "default", reservedSlots=None)
    world.until(lambda: world.get("aq", "default")["status"].get("active") == 2, "without it both are used")


def test_aging_lets_a_waiting_job_rise_and_shows_it(world: World) -> None:
    world.queue(mode="Paused", maxConcurrentJobs=1, aging={"everySeconds": 2})
    world.job("old", priority="LOW")
    world.until(lambda: world.get("aj", "old")["status"].get("effectivePriority") == "HIGH", "it rises to HIGH")
    world.job("fresh", priority="NORMAL")
    world.until(lambda: world.get("aq", "default")["status"].get("queued") == 2, "both wait")
    world.until(lambda: world.get("aq", "default")["status"]["head"][0]["name"] == "old", "the old one is the head")
    world.change("aq", "default", aging=None)
    world.until(lambda: world.get("aq", "default")["status"]["head"][0]["name"] == "fresh", "strict priority again")
    assert "effectivePriority" not in world.get("aj", "old")["status"]


def test_a_job_beyond_the_queues_bounds_is_rejected_and_says_why(world: World) -> None:
    world.queue(resourceBounds={"max": {"memory": "64Gi"}})
    world.job("greedy", resources={"limits": {"memory": "65Gi"}})
    world.job("modest", resources={"limits": {"memory": "64Gi"}})
    world.until_phase("greedy", "Rejected")
    finished = world.condition("aj", "greedy", "Finished")
    assert finished["reason"] == "ResourcesOutOfBounds"
    assert "65Gi" in finished["message"]
    world.until_phase("modest", "Succeeded")


def test_partitions_route_by_type_and_priority(world: World) -> None:
    world.queue("live", accepts={"priorities": ["URGENT"]}, maxConcurrentJobs=1)
    world.queue("batch", accepts={"types": ["transcode"]}, maxConcurrentJobs=1)
    world.queue("default")
    wanted: dict[str, tuple[dict[str, Any], str]] = {
        "a": ({"priority": "URGENT"}, "live"),
        "b": ({"type": "transcode"}, "batch"),
        "c": ({}, "default"),
        "d": ({"type": "transcode", "queueName": "default"}, "default"),
    }
    world.apply(*(job(name, **spec) for name, (spec, _) in wanted.items()))
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeed")
    assert {item["metadata"]["name"]: item["status"]["queueName"] for item in world.items("aj")} == {
        name: queue for name, (_, queue) in wanted.items()
    }


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"tolerations": [{"key": "gpu", "operator": "Maybe"}]}, "tolerations"),
        ({"volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}]}, "Duplicate"),
        ({"imagePullSecrets": "registry"}, "imagePullSecrets"),
    ],
)
def test_a_worker_template_that_kubernetes_refuses_starts_nothing_and_is_named(
    world: World, part: dict[str, Any], word: str
) -> None:
    containers = [{"name": "worker", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    world.queue(workerTemplate={"spec": {"containers": containers} | part})
    world.job("film")
    world.until(lambda: world.condition("aq", "default", "Ready").get("status") == "False", "the queue is not ready")
    ready = world.condition("aq", "default", "Ready")
    assert ready["reason"] == "InvalidWorkerTemplate"
    assert word in ready["message"]
    assert world.phase("film") == "Queued"
    sound = {"containers": containers, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    world.kubectl("delete", "aq", "default")
    world.queue(workerTemplate={"spec": sound})
    world.until_phase("film", "Succeeded")


def test_a_worker_that_posts_progress_is_told_to_stop_before_it_is_stopped(world: World) -> None:
    world.queue(cancelGraceSeconds=600)
    world.job("film", params={"fake_seconds": "20", "fake_exits": "1"})
    world.until_phase("film", "Starting", "Running")
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    worker = Worker(world, world.items("pods")[0]["metadata"]["name"])
    world.until(lambda: worker.post(10).status_code == 200, "its progress is taken")
    world.change("aj", "film", cancel=True)
    world.until(lambda: worker.post(20).json().get("desired") == "Cancel", "it is told to stop")
    world.until(lambda: "stop" in world.get("aj", "film")["status"], "the decision is kept")
    assert world.get("aj", "film")["status"]["stop"]["reason"] == "Cancel"
    assert not world.items("jobs")[0]["spec"].get("suspend")
    world.until_phase("film", "Cancelled")
    assert not world.items("jobs")[0]["spec"].get("suspend"), "it ended by itself"


def test_a_killed_operator_does_not_move_a_retry(world: World) -> None:
    world.queue(retryDelaysSeconds=[12])
    world.job("film", params={"fake_exits": "1,0"})
    world.until_phase("film", "BackingOff")
    due = world.get("aj", "film")["status"]["nextAttemptAt"]
    world.operator.kill()
    world.operator.start()
    world.until(lambda: world.operator.said().count("Leading as") == 2, "it leads again")
    status = world.get("aj", "film")["status"]
    assert status.get("nextAttemptAt", due) == due
    world.until_phase("film", "Succeeded")
    first, second = world.get("aj", "film")["status"]["attempts"]
    assert second["startedAt"] >= due > first["finishedAt"]
