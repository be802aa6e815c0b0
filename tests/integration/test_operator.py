"""The operator as a process against a real API server, with pods that a fake kubelet plays."""

import signal
from pathlib import Path

import pytest

from klipfake.processes import Operator
from klipfake.world import World, job


def test_jobs_start_by_priority_then_first_in_first_out(world: World) -> None:
    world.queue(mode="Paused", maxConcurrentJobs=1)
    names = ["low", "normal-1", "urgent", "normal-2", "high"]
    for name in names:
        world.job(name, priority=name.split("-")[0].upper())
    world.until(lambda: all(j["status"].get("sequence") for j in world.items("aj")), "all accepted")
    world.kubectl("patch", "aq", "default", "--type=merge", "-p", '{"spec":{"mode":"Running"}}')
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    began = {j["metadata"]["name"]: j["status"]["startedAt"] for j in world.items("aj")}
    assert sorted(names, key=lambda name: began[name]) == ["urgent", "high", "normal-1", "normal-2", "low"]
    assert len(world.items("jobs")) == 5


def test_a_raised_priority_moves_a_waiting_job_to_the_front(world: World) -> None:
    world.queue(mode="Paused", maxConcurrentJobs=1)
    for name in ("first", "second", "third"):
        world.job(name)
    world.until(lambda: world.get("aq", "default")["status"].get("queued") == 3, "all wait")
    world.kubectl("patch", "aj", "third", "--type=merge", "-p", '{"spec":{"priority":"URGENT"}}')
    world.until(lambda: world.get("aq", "default")["status"]["head"][0]["name"] == "third", "third is the head")
    world.kubectl("patch", "aq", "default", "--type=merge", "-p", '{"spec":{"mode":"Running"}}')
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    began = {j["metadata"]["name"]: j["status"]["startedAt"] for j in world.items("aj")}
    assert min(began, key=lambda name: began[name]) == "third"


def test_a_failing_job_is_retried_then_becomes_a_dead_letter_and_a_replay_runs_it_again(world: World) -> None:
    world.queue(maxRetries=1, retryDelaysSeconds=[1])
    world.job("bad", params={"fake_exits": "1,1,0", "fake_message": '{"message": "no luck", "error_code": "Unlucky"}'})
    world.kubectl("wait", "aj/bad", "--for=condition=Finished", "--timeout=40s")
    status = world.get("aj", "bad")["status"]
    assert (status["phase"], status["attempt"], status["retries"]) == ("Failed", 2, 1)
    assert [entry["reason"] for entry in status["attempts"]] == ["Unlucky", "Unlucky"]
    dead = next(c for c in status["conditions"] if c["type"] == "DeadLettered")
    assert dead["status"] == "True"
    assert "spec.replay" in dead["message"]
    world.kubectl("patch", "aj", "bad", "--type=merge", "-p", '{"spec":{"replay":1}}')
    world.until_phase("bad", "Succeeded")
    assert world.get("aj", "bad")["status"]["attempt"] == 3
    world.until(lambda: world.get("aq", "default")["status"]["totals"]["succeeded"] == 1, "totals")
    totals = world.get("aq", "default")["status"]["totals"]
    assert (totals["succeeded"], totals["failed"], totals["retried"]) == (1, 1, 1)


def test_a_permanent_error_is_not_retried(world: World) -> None:
    world.queue()
    world.job("gone", params={"fake_exits": "66", "fake_message": '{"error_code": "SourceGone", "retryable": false}'})
    world.until_phase("gone", "Failed")
    assert world.get("aj", "gone")["status"]["attempt"] == 1


def test_a_job_waits_for_its_queue_and_says_so(world: World) -> None:
    world.job("early", queueName="later")

    def said() -> str:
        conditions = world.get("aj", "early")["status"].get("conditions", [])
        return str(next((c["reason"] for c in conditions if c["type"] == "CapacityAvailable"), ""))

    world.until(lambda: said() == "QueueNotFound", "the condition names the missing queue")
    assert "no AnalysisQueue later" in world.kubectl("describe", "aj", "early").replace("\n", " ")
    world.queue("later")
    world.until_phase("early", "Succeeded")


def test_a_full_queue_rejects_in_order_and_says_why(world: World) -> None:
    world.queue(mode="Paused", maxQueueSize=2)
    world.apply(*(job(f"job-{number}") for number in range(4)))
    world.until(lambda: sorted(world.phases().values()).count("Rejected") == 2, "two are rejected")
    assert world.phases() == {"job-0": "Queued", "job-1": "Queued", "job-2": "Rejected", "job-3": "Rejected"}
    finished = world.get("aj", "job-3")["status"]["conditions"][0]
    assert finished["reason"] == "QueueFull"
    assert "maxQueueSize" in finished["message"]


@pytest.mark.parametrize("moment", ["Queued", "Starting", "Running", "BackingOff"])
def test_a_killed_operator_loses_nothing_and_doubles_nothing(world: World, moment: str) -> None:
    world.queue(maxConcurrentJobs=2, retryDelaysSeconds=[2], mode="Paused" if moment == "Queued" else "Running")
    seconds = "7" if moment == "Running" else "2"
    exits = "1,0" if moment == "BackingOff" else "0"
    world.apply(*(job(f"job-{n}", params={"fake_seconds": seconds, "fake_exits": exits}) for n in range(3)))
    world.until(lambda: moment in world.phases().values(), f"some job is {moment}")
    world.operator.kill()
    if moment == "Queued":
        world.kubectl("patch", "aq", "default", "--type=merge", "-p", '{"spec":{"mode":"Running"}}')
    world.operator.start()
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    for item in world.items("aj"):
        status = item["status"]
        attempts = 2 if moment == "BackingOff" else 1
        assert status["attempt"] == attempts
        jobs = [j for j in world.items("jobs") if j["metadata"]["ownerReferences"][0]["uid"] == item["metadata"]["uid"]]
        assert len(jobs) == attempts
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "all slots are free")
    assert world.get("aq", "default")["status"]["totals"]["succeeded"] == 3


def test_a_cancelled_job_stops_and_frees_its_slot(world: World) -> None:
    world.queue(maxConcurrentJobs=1)
    world.job("running", params={"fake_seconds": "300"})
    world.until_phase("running", "Running")
    world.job("waiting", params={"fake_seconds": "300"})
    world.until(lambda: bool(world.get("aj", "waiting")["status"].get("sequence")), "accepted")
    for name in ("waiting", "running"):
        world.kubectl("patch", "aj", name, "--type=merge", "-p", '{"spec":{"cancel":true}}')
        world.until_phase(name, "Cancelled")
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "the slot is free")
    assert not [pod for pod in world.items("pods") if pod["status"]["phase"] == "Running"]


@pytest.mark.parametrize("deleted", ["pods", "jobs"])
def test_work_deleted_by_hand_is_done_again_and_burns_no_retry(world: World, deleted: str) -> None:
    world.queue(maxConcurrentJobs=1)
    world.job("victim", params={"fake_seconds": "8"})
    world.until_phase("victim", "Starting", "Running")
    world.until(lambda: bool(world.items("pods")), "its pod exists")
    world.kubectl("delete", deleted, "--all", "--wait=false")
    world.until_phase("victim", "Succeeded")
    status = world.get("aj", "victim")["status"]
    assert (status["attempt"], status["retries"]) == (2, 0)
    assert status["attempts"][0]["failureClass"] == "Infrastructure"


def test_a_deleted_analysis_job_frees_its_slot(world: World) -> None:
    world.queue(maxConcurrentJobs=1)
    world.job("gone", params={"fake_seconds": "300"})
    world.until_phase("gone", "Starting", "Running")
    world.job("next")
    world.kubectl("delete", "aj", "gone")
    world.until_phase("next", "Succeeded")


def test_a_standby_takes_over_and_a_frozen_leader_does_no_harm(world: World, control_plane, tmp_path: Path) -> None:
    world.queue(maxConcurrentJobs=1)
    world.job("first", params={"fake_seconds": "1"})
    world.until_phase("first", "Starting", "Running")
    standby = Operator(
        control_plane.kubeconfig, tmp_path / "standby.log", world.namespace, KLIPSTREAM_IDENTITY="standby"
    )
    standby.start()
    try:
        world.operator.send(signal.SIGSTOP)
        world.job("second")
        world.until_phase("second", "Succeeded")
        world.operator.send(signal.SIGCONT)
        world.until(lambda: not world.operator.running, "the old leader sees that it lost the Lease and ends")
        world.job("third")
        world.until_phase("third", "Succeeded")
        assert len(world.items("jobs")) == 3
    finally:
        standby.kill()


def test_a_lowered_limit_stops_nobody_and_scale_raises_it(world: World) -> None:
    world.queue(maxConcurrentJobs=2)
    world.apply(*(job(f"job-{n}", params={"fake_seconds": "3"}) for n in range(4)))
    world.until(lambda: world.get("aq", "default")["status"].get("active") == 2, "two run")
    world.kubectl("scale", "aq", "default", "--replicas=1")
    world.until(lambda: "Succeeded" in world.phases().values(), "the first two go on to their end")
    assert world.kubectl("get", "aq", "default", "-o", "jsonpath={.spec.maxConcurrentJobs}") == "1"
    world.until(lambda: set(world.phases().values()) == {"Succeeded"}, "all succeeded")
    assert {item["status"]["attempt"] for item in world.items("aj")} == {1}


def test_a_draining_queue_finishes_what_it_accepted_and_refuses_the_rest(world: World) -> None:
    world.queue(maxConcurrentJobs=1)
    world.apply(*(job(f"old-{n}", params={"fake_seconds": "1"}) for n in range(2)))
    world.until(lambda: all(j["status"].get("sequence") for j in world.items("aj")), "accepted")
    world.kubectl("patch", "aq", "default", "--type=merge", "-p", '{"spec":{"mode":"Draining"}}')
    world.until(lambda: world.get("aq", "default")["status"]["observedGeneration"] == 2, "draining is seen")
    world.job("late")
    world.until_phase("late", "Rejected")
    world.kubectl("wait", "aq/default", "--for=condition=Drained", "--timeout=40s")
    assert world.phases() == {"old-0": "Succeeded", "old-1": "Succeeded", "late": "Rejected"}


def test_an_invalid_worker_template_is_named_and_other_queues_go_on(world: World) -> None:
    world.queue("broken", workerTemplate={"spec": {"containers": []}})
    world.queue("sound")
    world.job("one", queueName="broken")
    world.job("two", queueName="sound")
    world.until_phase("two", "Succeeded")
    ready = next(c for c in world.get("aq", "broken")["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidWorkerTemplate")
    assert world.phase("one") == "Queued"
