"""Submissions that are sent again, by the caller or after a lost answer."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klipcluster.tools import tools_folder
from klipfault.faults import Delay, DropAnswer, Rule
from klipfault.proxy import FaultProxy
from klipgate.process import Gateway

ROOT = Path(__file__).resolve().parents[3]
VIDEO = {"video_url": "https://example.com/v.mp4"}


def stored(stack, job_id: str) -> dict[str, Any]:
    (found,) = [each for each in stack.world.items("aj") if each["spec"].get("jobId") == job_id]
    return dict(found)


def test_a_submission_that_the_operator_rejected_is_refused_whenever_it_is_repeated(stack):
    """As where two gateways saw the last place free."""
    body, key = VIDEO | {"queue": "paused"}, {"Idempotency-Key": "rejected-later"}
    first = stack.submitter.post("/api/v1/analysis", json=body, headers=key)
    assert first.status_code == 202, first.text
    name = stored(stack, first.json()["job_id"])["metadata"]["name"]
    why = {"type": "Finished", "status": "True", "reason": "QueueFull", "message": "The queue paused is full.",
           "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    status = json.dumps({"status": {"phase": "Rejected", "conditions": [why]}})
    stack.world.kubectl("patch", "aj", name, "--subresource=status", "--type=merge", "-p", status)
    for _ in range(2):
        again = stack.submitter.post("/api/v1/analysis", json=body, headers=key)
        assert (again.status_code, again.json()["code"]) == (409, "queue-full")
        assert int(again.headers["Retry-After"]) > 0
    other = stack.submitter.post("/api/v1/analysis", json=body, headers={"Idempotency-Key": "a-new-one"})
    assert other.status_code == 202


@pytest.fixture
def policy(stack, kubectl) -> Iterator[None]:
    """The chart's admission policy, which refuses submissions to a full queue at the API server; in force."""
    helm = [str(tools_folder() / "helm"), "template", "r", str(ROOT / "charts" / "klipstream"), "-n", "default"]
    rendered = subprocess.run(
        [*helm, "-s", "templates/admission-policy.yaml"], capture_output=True, text=True, check=True
    ).stdout.replace("default-r-", f"{stack.world.namespace}-")
    stack.world.kubectl("apply", "-f", "-", stdin=rendered)
    stack.world.queue("nothing", mode="Draining")
    probe = {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": "probe"},
             "spec": {"videoUrl": VIDEO["video_url"], "queueName": "nothing"}}  # fmt: skip

    def refuses() -> bool:
        tried = ("--namespace", stack.world.namespace, "create", "--dry-run=server", "-f", "-")
        return "is draining" in str(kubectl(*tried, stdin=json.dumps(probe), check=False).stderr)

    try:
        stack.world.until(refuses, "the policy is in force")
        yield
    finally:
        stack.world.kubectl("delete", "-f", "-", stdin=rendered)


@pytest.fixture
def cut_off(stack, control_plane, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that never gets the answer to its first create, and sends it again after some seconds only."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def do(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    proxy = FaultProxy(control_plane.kubeconfig)
    do(proxy.__aenter__())
    creates = {"verbs": frozenset({"create"}), "resource": "analysisjobs.analysis.klipstream.io"}
    proxy.rules += [Rule(DropAnswer(), nth=1, **creates), Rule(Delay(4), nth=1, **creates)]
    gateway = Gateway(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path, stack.world.namespace)
    gateway.start()
    try:
        gateway.wait()
        yield gateway
    finally:
        gateway.kill()
        do(proxy.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)


def test_a_submission_that_filled_its_queue_before_its_answer_was_lost_is_taken(stack, policy, cut_off):
    """The second send finds the queue full by the job of the first."""
    stack.world.queue("last", mode="Paused", maxQueueSize=1)
    with cut_off.client("submit") as client:
        stack.world.until(lambda: client.get("/api/v1/queue/status?queue=last").status_code == 200, "the queue")
        answer = client.post("/api/v1/analysis", json=VIDEO | {"queue": "last"})
    assert answer.status_code == 202, answer.text
    assert "Idempotency-Replayed" not in answer.headers
    assert stored(stack, answer.json()["job_id"])["status"]["phase"] == "Queued"
