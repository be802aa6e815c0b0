"""`kueue.queueName` with Kueue itself: it holds attempts back, gives them quota, and takes it away again.

Pods are played by the fake kubelet; Kueue, its webhooks and the API server are the real ones. One pod has quota, and
two jobs have a slot, so one of them always waits in Kueue.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipfake.processes import Operator, Process
from klipfake.world import World, playing
from klipkueue.process import Kueue
from klipstream_api.names import JOB_UID_LABEL

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]
PATIENCE_SECONDS = 180.0
ONE_POD = {
    "coveredResources": ["pods"],
    "flavors": [{"name": "any", "resources": [{"name": "pods", "nominalQuota": 1}]}],
}


def kueues(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object of Kueue's own."""
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def kueue(control_plane, custom_resources, kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    process = Kueue(control_plane.kubeconfig, tmp_path_factory.mktemp("kueue"))
    for each in process.objects():
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(each))
    process.start()
    try:
        queue = kueues("ClusterQueue", "cluster", namespaceSelector={}, resourceGroups=[ONE_POD])
        own = {"apiVersion": "v1", "kind": "List", "items": [kueues("ResourceFlavor", "any"), queue]}

        def taken() -> bool:
            return kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(own), check=False).returncode == 0

        until(taken, lambda: f"Kueue takes no queue of its own: {process.said()[-4000:]}")
        yield process
    finally:
        process.withdraw(kubectl)
        process.kill()


@pytest.fixture
def world(kueue: Kueue, control_plane, kubectl, namespace: str, tmp_path: Path) -> Iterator[World]:
    operator = Operator(control_plane.kubeconfig, tmp_path / "operator.log", namespace, KLIPSTREAM_LEASE_SECONDS="60")
    kubelet = Process("klipfake.kubelet", control_plane.kubeconfig, tmp_path / "kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as world:
        spec = {"clusterQueue": "cluster"}
        world.apply(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "LocalQueue",
                "metadata": {"name": "analyses"},
                "spec": spec,
            }
        )
        world.queue(maxConcurrentJobs=2, kueue={"queueName": "analyses"})
        yield world
        for job in world.items("aj"):
            world.change("aj", job["metadata"]["name"], cancel=True)
        until(lambda: not holding_quota(world), lambda: f"quota is held: {workloads(world)}")


def workloads(world: World, condition: str | None = None) -> list[dict[str, Any]]:
    """The Workloads that Kueue made, or those of which a condition holds."""
    found = world.items("workloads")
    if condition is None:
        return found
    return [
        each for each in found
        if any(c["type"] == condition and c["status"] == "True" for c in each["status"].get("conditions", ()))
    ]  # fmt: skip


def holding_quota(world: World) -> list[str]:
    """Names of the Workloads that others have to wait for; one that is finished stays Admitted."""
    finished = {each["metadata"]["name"] for each in workloads(world, "Finished")}
    return [name for each in workloads(world, "Admitted") if (name := each["metadata"]["name"]) not in finished]


def until_one_waits(world: World) -> None:
    """Of two Jobs, one has quota and one is held back."""

    def suspended() -> list[bool]:
        return sorted(bool(job["spec"].get("suspend")) for job in world.items("jobs"))

    until(lambda: suspended() == [False, True], lambda: f"none waits in Kueue: {world.items('jobs')}")


def begins(world: World, running: str, waiting: str) -> None:
    """One job that runs until it is stopped, and another one that waits in Kueue meanwhile."""
    world.job(running, params={"fake_seconds": "3600"})
    world.until_phase(running, "Running")
    world.job(waiting, params={"fake_seconds": "1"})
    until_one_waits(world)


def test_who_has_a_slot_waits_for_quota_and_they_run_one_after_the_other(world: World) -> None:
    for name in ("first", "second"):
        world.job(name, params={"fake_seconds": "8"})
    until_one_waits(world)
    most = 0

    def all_done() -> bool:
        nonlocal most
        most = max(most, len([pod for pod in world.items("pods") if pod["status"].get("phase") == "Running"]))
        return set(world.phases().values()) == {"Succeeded"}

    until(all_done, lambda: str(world.phases()))
    assert most == 1
    for job in world.items("aj"):
        status = job["status"]
        assert (status["attempt"], status["retries"], status.get("infrastructureLosses", 0)) == (1, 0, 0)
    until(lambda: len(workloads(world, "Finished")) == 2, lambda: str(workloads(world)))


def test_a_cancelled_attempt_gives_its_quota_to_the_next_and_never_runs_again(world: World) -> None:
    begins(world, "stops", "follows")
    world.change("aj", "stops", cancel=True)
    until(lambda: world.phases() == {"stops": "Cancelled", "follows": "Succeeded"}, lambda: str(world.phases()))
    assert not [pod for pod in world.items("pods") if pod["status"].get("phase") == "Running"]


def test_who_is_cancelled_while_it_waits_in_kueue_never_runs(world: World) -> None:
    begins(world, "runs", "waits")
    world.change("aj", "waits", cancel=True)
    world.until_phase("waits", "Cancelled")
    world.change("aj", "runs", cancel=True)
    world.until_phase("runs", "Cancelled")
    until(lambda: world.get("aq", "default")["status"]["active"] == 0, lambda: "all slots are free")
    uid = world.get("aj", "waits")["metadata"]["uid"]
    (held,) = (job for job in world.items("jobs") if job["metadata"]["labels"][JOB_UID_LABEL] == uid)
    assert held["spec"]["suspend"]
    assert "startTime" not in held["status"], "Kubernetes notes when a Job is resumed for the first time"


def drains(kubectl: Callable[..., Any], policy: str) -> None:
    """Have Kueue take all quota of the cluster away, or give it out again."""
    kubectl("patch", "clusterqueue", "cluster", "--type=merge", "-p", json.dumps({"spec": {"stopPolicy": policy}}))


def test_quota_that_is_taken_away_and_given_back_costs_no_retry(world: World, kubectl) -> None:
    world.job("returns", params={"fake_seconds": "10"})
    world.until_phase("returns", "Running")
    kubectl(
        "patch", "clusterqueue", "cluster", "--type=merge", "-p", json.dumps({"spec": {"stopPolicy": "HoldAndDrain"}})
    )
    until(
        lambda: world.get("aj", "returns")["status"]["attempt"] == 2, lambda: str(world.get("aj", "returns")["status"])
    )
    drains(kubectl, "HoldAndDrain")
    until(lambda: world.get("aj", "returns")["status"]["attempt"] == 2, lambda: str(world.get("aj", "returns")))
    drains(kubectl, "None")
    until(lambda: world.phase("returns") == "Succeeded", lambda: str(world.get("aj", "returns")))
    status = world.get("aj", "returns")["status"]
    assert (status["attempts"][0]["reason"], status["retries"]) == ("Preempted", 0)


def test_figures(figures: Callable[[str], None], kueue: Kueue) -> None:
    assert kueue.running, kueue.said()[-4000:]
    figures("kueue: 0.17.0 itself held attempts back, gave and took quota; 4 cases")
