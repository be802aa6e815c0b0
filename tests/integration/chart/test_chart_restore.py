"""A cluster that is gone is made again from `kubectl get -o json`: what was finished stays, what was not goes on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster, Running
from klipcluster.tools import tools_folder
from klipfake.processes import Operator, Process
from klipfake.world import TEMPLATE, World, job, playing
from klipstream_api import names

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def rebuilt() -> Iterator[Running]:
    """A cluster that knows nothing yet."""
    cluster = Cluster(f"rebuilt-{os.getpid()}")
    try:
        yield cluster.up(control_plane_only=True)
    finally:
        cluster.down()


def kubectl_of(running: Running) -> Any:
    def run(*arguments: str, stdin: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [str(tools_folder() / "kubectl"), *arguments], env=os.environ | {"KUBECONFIG": str(running.kubeconfig)},
            input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def restore(kubeconfig: Path, backup: Path) -> str:
    command = [sys.executable, "-m", "klipstream_operator.restore", str(backup)]
    done = subprocess.run(
        command, env=os.environ | {"KUBECONFIG": str(kubeconfig)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def the_policy_is_in_force(kubectl: Any, namespace: str) -> None:
    """The chart's own policy, as it stands before anything is restored."""
    helm = [str(tools_folder() / "helm"), "template", "r", str(ROOT / "charts" / "klipstream"), "-n", namespace]
    rendered = subprocess.run(
        [*helm, "-s", "templates/admission-policy.yaml"], capture_output=True, text=True, check=True
    ).stdout
    kubectl("apply", "-f", "-", stdin=rendered)
    closed = {
        "apiVersion": names.API_VERSION, "kind": "AnalysisQueue",
        "metadata": {"name": "closed", "namespace": namespace},
        "spec": {"workerTemplate": TEMPLATE, "mode": "Draining"},
    }  # fmt: skip
    kubectl("create", "-f", "-", stdin=json.dumps(closed))
    refused = job("refused", queueName="closed") | {"metadata": {"name": "refused", "namespace": namespace}}
    deadline = time.monotonic() + 120
    while kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(refused), check=False).returncode == 0:
        assert time.monotonic() < deadline, "the policy never came into force"
        time.sleep(0.5)
    kubectl("delete", "aq", "closed", "--namespace", namespace)


@pytest.mark.timeout(600)
def test_a_rebuilt_cluster_finishes_what_was_unfinished_and_runs_nothing_twice(
    world: World, rebuilt: Running, tmp_path: Path
) -> None:
    # A cluster in the middle of its work: finished, failed, running with a checkpoint, waiting.
    world.queue(maxConcurrentJobs=1, maxQueueSize=3, maxRetries=0)
    world.job("done", params={"fake_seconds": "0.1"})
    world.job("failed", params={"fake_seconds": "0.1", "fake_exits": "3"})
    world.until(lambda: world.phases() == {"done": "Succeeded", "failed": "Failed"}, "two are finished")
    world.job("running", params={"fake_seconds": "3600"})
    world.until(lambda: world.phases()["running"] in ("Starting", "Running"), "one runs")
    world.queue("closing", maxConcurrentJobs=1)
    world.job("kept", queueName="closing", params={"fake_seconds": "3600"})
    world.until(lambda: world.phases()["kept"] in ("Starting", "Running"), "one runs in a queue that is to close")
    world.change("aq", "closing", mode="Draining")
    for name in ("second", "third", "fourth"):
        world.job(name, params={"fake_seconds": "0.1"})
    world.until(lambda: all(each["status"].get("sequence") for each in world.items("aj")), "all are accepted")
    before = {each["metadata"]["name"]: each for each in world.items("aj")}
    backup = tmp_path / "backup.json"
    backup.write_text(world.kubectl("get", "aq,aj", "-o", "json"))
    world.operator.kill()

    # The new one: the backup, twice, and then the operator.
    kubectl, namespace = kubectl_of(rebuilt), world.namespace
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "-f", str(ROOT / "crds"), "--timeout=60s")
    kubectl("create", "namespace", namespace)
    the_policy_is_in_force(kubectl, namespace)
    assert restore(rebuilt.kubeconfig, backup) == "restored: 2 finished jobs, 2 queues, 5 unfinished jobs\n"
    assert "7 jobs there already" in restore(rebuilt.kubeconfig, backup)
    operator = Operator(rebuilt.kubeconfig, tmp_path / "rebuilt-operator.log", namespace)
    kubelet = Process("klipfake.kubelet", rebuilt.kubeconfig, tmp_path / "rebuilt-kubelet.log")
    with playing(kubectl, namespace, operator, kubelet) as again:
        again.until(lambda: again.phases()["running"] in ("Starting", "Running"), "what ran goes on")
        running = again.get("aj", "running")
        assert running["status"]["attempt"] == before["running"]["status"]["attempt"] + 1
        assert running["status"].get("retries", 0) == 0
        again.until(lambda: again.phases()["kept"] in ("Starting", "Running"), "a draining queue works off what it had")
        assert again.get("aq", "closing")["spec"]["mode"] == "Draining"
        again.change("aj", "running", cancel=True)
        waited = ("second", "third", "fourth")
        again.until(
            lambda: {again.phases()[name] for name in waited} == {"Succeeded"}, "what waited is done, in a full queue"
        )
        after = {each["metadata"]["name"]: each for each in again.items("aj")}
        jobs = json.loads(again.kubectl("get", "jobs", "-o", "json"))["items"]
    for name in ("done", "failed"):
        assert after[name]["status"] == before[name]["status"], "finished work is as it was"
    ran = {job["metadata"]["annotations"]["analysis.klipstream.io/job"] for job in jobs}
    assert ran == {"running", "kept", "second", "third", "fourth"}, "finished work does not run again"
    order = sorted(("second", "third", "fourth"), key=lambda name: after[name]["status"]["sequence"])
    assert order == ["second", "third", "fourth"]
    for name, each in after.items():
        assert each["spec"]["jobId"] == before[name]["metadata"]["uid"], "its id outlives the cluster"
