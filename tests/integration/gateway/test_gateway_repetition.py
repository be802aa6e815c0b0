"""Submissions that are sent again, by the caller or after a lost answer."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from klipcluster.tools import tools_folder
from klipfault.proxy import FaultProxy, Moment, Then
from klipfault.record import Write
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


@dataclass(frozen=True)
class CutOff:
    """A gateway that never gets the answer to its first create, and a queue with one place."""

    gateway: Gateway
    proxy: FaultProxy


@pytest.fixture
def refuses(stack, kubectl) -> Iterator[Callable[[str, str], bool]]:
    """refuses(queue, how): whether the chart's admission policy, which is in force, refuses one more job there."""
    helm = [str(tools_folder() / "helm"), "template", "r", str(ROOT / "charts" / "klipstream"), "-n", "default"]
    rendered = subprocess.run(
        [*helm, "-s", "templates/admission-policy.yaml"], capture_output=True, text=True, check=True
    ).stdout.replace("default-r-", f"{stack.world.namespace}-")

    def refuses(queue: str, how: str) -> bool:
        probe = {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisJob", "metadata": {"name": "probe"},
                 "spec": {"videoUrl": VIDEO["video_url"], "queueName": queue}}  # fmt: skip
        tried = ("--namespace", stack.world.namespace, "create", "--dry-run=server", "-f", "-")
        return f"is {how}" in str(kubectl(*tried, stdin=json.dumps(probe), check=False).stderr)

    stack.world.kubectl("apply", "-f", "-", stdin=rendered)
    stack.world.queue("nothing", mode="Draining")
    try:
        stack.world.until(lambda: refuses("nothing", "draining"), "the policy is in force")
        yield refuses
    finally:
        stack.world.kubectl("delete", "-f", "-", stdin=rendered)


@pytest.fixture
def cut_off(stack, control_plane, refuses, tmp_path: Path) -> Iterator[CutOff]:
    """The first create reaches the API server and its answer gets lost. The second send arrives once the policy knows
    that the queue is full by the first."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def do(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    async def lose(_: Write) -> Then:
        return Then.DROP

    async def wait_until_full(_: Write) -> Then:
        while not await asyncio.to_thread(refuses, "last", "full"):
            await asyncio.sleep(0.2)
        return Then.GO_ON

    proxy = FaultProxy(control_plane.kubeconfig, counts=lambda call: call.verb == "create" and "jobs" in call.resource)
    do(proxy.__aenter__())
    proxy.interrupt(1, Moment.AFTER, lose)
    proxy.interrupt(2, Moment.BEFORE, wait_until_full)
    # More than the test takes by far: the second send waits for the operator to count and for the policy to hear of it.
    gateway = Gateway(
        proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path, stack.world.namespace,
        KLIPSTREAM_REQUEST_SECONDS="300",
    )  # fmt: skip
    gateway.start()
    try:
        gateway.wait()
        yield CutOff(gateway, proxy)
    finally:
        gateway.kill()
        do(proxy.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)


def test_a_submission_that_filled_its_queue_before_its_answer_was_lost_is_taken(stack, cut_off: CutOff):
    """The second send finds the queue full by the job of the first."""
    stack.world.queue("last", mode="Paused", maxQueueSize=1)
    with cut_off.gateway.client("submit") as client:
        client.timeout = 300
        stack.world.until(lambda: client.get("/api/v1/queue/status?queue=last").status_code == 200, "the queue")
        answer = client.post("/api/v1/analysis", json=VIDEO | {"queue": "last"})
    sent = [(write.call.name, write.code) for write in cut_off.proxy.record.writes]
    codes = [code for _, code in sent]
    assert codes[0] == 201, "it was stored, and the answer was lost"
    assert 403 in codes[1:], "the policy met a later send"
    assert 201 not in codes[1:]
    assert len({name for name, _ in sent}) == 1, "it was one job"
    assert answer.status_code == 202, answer.text
    assert "Idempotency-Replayed" not in answer.headers
    assert stored(stack, answer.json()["job_id"])["status"]["phase"] == "Queued"
