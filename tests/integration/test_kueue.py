"""Kueue's part played by the test, with Kueue's own definition of a Workload: it suspends Jobs and resumes them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klipcrds import KUEUE, manifests
from klipfake.processes import Operator, Process
from klipfake.world import DEADLINE_SECONDS, World, playing

LABEL = "kueue.x-k8s.io/queue-name"


@pytest.fixture(scope="module")
def workloads(kubectl: Any) -> None:
    """Kueue's Workloads, as the API server knows them where Kueue is installed."""
    path = next(path for path in manifests((KUEUE,)) if path.name.endswith("_workloads.yaml"))
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while kubectl("get", "workloads", "-A", check=False).returncode != 0:
        assert time.monotonic() < deadline, "the API server serves no Workloads"
        time.sleep(0.3)


class Kueue:
    """What Kueue does with one Job."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def job(self) -> dict[str, Any]:
        return self.world.items("jobs")[0]

    def suspends(self, suspend: bool) -> None:
        self.world.change("job", self.job["metadata"]["name"], suspend=suspend)

    def notes(self) -> None:
        """Make the Job's Workload."""
        labels = {"kueue.x-k8s.io/job-uid": self.job["metadata"]["uid"]}
        pods = {"name": "main", "count": 1, "template": {"spec": {"containers": [{"name": "w", "image": "none"}]}}}
        self.world.apply({
            "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "metadata": {"name": "w", "labels": labels},
            "spec": {"active": True, "queueName": "analyses", "podSets": [pods]},
        })  # fmt: skip

    @property
    def active(self) -> bool:
        return bool(self.world.get("workload", "w")["spec"]["active"])

    @property
    def withdrawn(self) -> bool:
        return "analysis.klipstream.io/withdrawn" in self.job["metadata"]["annotations"]


@pytest.fixture
def world(control_plane, custom_resources, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    """As elsewhere, with a Lease that outlasts a busy machine: nothing here is about leaders."""
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace, KLIPSTREAM_LEASE_SECONDS="120")
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as world:
        yield world


@pytest.fixture
def kueue(workloads: None, world: World) -> Kueue:
    """A queue whose jobs find no node until the test makes room, so that Kueue may suspend them before they run."""
    world.room(0)
    world.queue(kueue={"queueName": "analyses"}, stall={"noProgressSeconds": 1}, startDeadlineSeconds=1)
    return Kueue(world)


def suspended(kueue: Kueue, name: str) -> None:
    """The job's attempt waits in Kueue, and the operator has seen so."""
    world = kueue.world
    world.until(lambda: bool(world.items("jobs")), "its Job is there")
    assert kueue.job["metadata"]["labels"][LABEL] == "analyses"
    kueue.suspends(True)
    world.until(lambda: any(c["type"] == "Suspended" for c in kueue.job["status"].get("conditions", ())), "suspended")
    world.until_phase(name, "Starting")
    world.until(lambda: not world.items("pods"), "its pod is gone")
    # The sweep has gone over it and left it as it is.
    world.ask("reconcile", name)
    world.until(lambda: world.operation("Reconcile").get("request") == name, "everything was looked at")


def test_an_attempt_waits_for_its_place_as_starting_and_runs_when_it_has_it(kueue: Kueue) -> None:
    world = kueue.world
    world.job("waits")
    suspended(kueue, "waits")
    world.ask("clear-stuck", "now")
    world.until(lambda: world.operation("ClearStuck").get("request") == "now", "what is stuck was cleared")
    assert (world.phase("waits"), world.get("aq", "default")["status"]["active"]) == ("Starting", 1)
    world.room(1)
    kueue.suspends(False)
    world.until_phase("waits", "Succeeded")
    status = world.get("aj", "waits")["status"]
    assert (status["attempt"], status["retries"], status.get("infrastructureLosses", 0)) == (1, 0, 0)
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "its slot is free")


def test_a_cancelled_attempt_that_waits_in_kueue_is_withdrawn_there(kueue: Kueue) -> None:
    world = kueue.world
    world.job("goes")
    suspended(kueue, "goes")
    world.change("aj", "goes", cancel=True)
    world.until(lambda: "has no Workload" in world.operator.said(), "it waits for Kueue to note the Job")
    assert world.phase("goes") == "Starting"
    kueue.notes()
    world.until_phase("goes", "Cancelled")
    assert not kueue.active
    assert kueue.withdrawn
    assert LABEL in kueue.job["metadata"]["labels"], "without it Kueue would keep the quota"
    world.until(lambda: world.get("aq", "default")["status"]["active"] == 0, "its slot is free")


def test_an_attempt_that_loses_its_place_is_followed_by_another_and_burns_no_retry(kueue: Kueue) -> None:
    world = kueue.world
    world.queue(kueue={"queueName": "analyses"})  # the fake worker posts nothing, and is not to stall here
    world.room(1)
    world.job("loses", params={"fake_seconds": "600"})
    world.until_phase("loses", "Running")
    kueue.notes()
    first = kueue.job["metadata"]["name"]
    kueue.suspends(True)
    world.until(lambda: world.get("aj", "loses")["status"]["attempt"] == 2, "the next attempt goes on")
    status = world.get("aj", "loses")["status"]
    assert (status["attempts"][0]["reason"], status["retries"]) == ("Preempted", 0)
    assert not kueue.active
    jobs = {each["metadata"]["name"]: each for each in world.items("jobs")}
    assert jobs[first]["spec"]["suspend"]
    world.change("aj", "loses", cancel=True)


def test_where_no_kueue_is_a_running_attempt_is_stopped_as_ever(world: World) -> None:
    """The label alone does nothing; Kueue may have been removed, or leave the namespace alone."""
    world.queue(kueue={"queueName": "analyses"})
    world.job("stops", params={"fake_seconds": "600"})
    world.until_phase("stops", "Running")
    world.change("aj", "stops", cancel=True)
    world.until_phase("stops", "Cancelled")
    assert json.loads(world.kubectl("get", "jobs", "-o", "json"))["items"][0]["spec"]["suspend"]
