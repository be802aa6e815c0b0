"""What is sensitive is nowhere in plain text: not in etcd, the audit log, events, ledgers, logs, metrics or answers."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipfake.files import contents
from klipfake.worker import Worker
from klipgate.process import Gateway
from klipstream_relay.signing import new_secret
from klipwebhook.certificate import make_certificate
from klipwebhook.stage import DEADLINE_SECONDS, Receivers, Relay

BY_BROWSER = {"Sec-Fetch-Site": "same-origin"}


def holding(folder: Path, word: str) -> list[str]:
    """Files below a folder that hold a word."""
    needle = word.encode()
    return [str(path.relative_to(folder)) for path, content in contents(folder) if needle in content]


def until(condition: Callable[[], bool], said: Callable[[], str]) -> None:
    """Wait for what the relay does; what it said where that never comes."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, said()[-3000:]
        time.sleep(0.1)


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Receivers]:
    """Somebody who is told of the job's end; what he receives is kept apart."""
    (tmp_path / "receivers").mkdir()
    made = Receivers(tmp_path / "receivers", make_certificate(tmp_path / "receivers"), mine="ok")
    made.listen()
    yield made
    made.process.kill()


@pytest.fixture
def relay(stack, control_plane, receivers: Receivers, tmp_path: Path) -> Iterator[Relay]:
    """With the ring that opens callbacks, and a ledger; it logs all it ever does."""
    (tmp_path / "relay").mkdir()
    (tmp_path / "ring.json").write_text(stack.ring.to_json())
    made = Relay(
        control_plane.kubeconfig, tmp_path / "relay", stack.world.namespace, KLIPSTREAM_LOG_LEVEL="DEBUG",
        KLIPSTREAM_CA_FILE=str(receivers.certificate), KLIPSTREAM_SEALING_RING=str(tmp_path / "ring.json"),
        KLIPSTREAM_ALLOWED_HOSTS="localhost", KLIPSTREAM_ALLOWED_NETWORKS="127.0.0.0/8,::1/128",
    )  # fmt: skip
    made.start()
    until(lambda: made.ready, made.said)
    yield made
    made.kill()


@pytest.fixture
def gateways(stack, control_plane, tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """One that seals and lets callbacks stay on this machine, and one without a key to seal with; both log all."""
    (tmp_path / "gateways").mkdir()
    made = [
        Gateway(
            control_plane.kubeconfig, tmp_path / "gateways", stack.world.namespace, KLIPSTREAM_LOG_LEVEL="DEBUG", **more
        )
        for more in (
            {"KLIPSTREAM_SEALING_KEY": str(stack.ring.public), "KLIPSTREAM_ALLOWED_CALLBACKS": "localhost"}, {},
        )
    ]  # fmt: skip
    for gateway in made:
        gateway.start()
    for gateway in made:
        gateway.wait()
    yield made[0], made[1]
    for gateway in made:
        gateway.kill()


def unsealed(stack, job_id: str) -> dict[str, Any]:
    """What the worker of a job is handed with its first reply."""
    (uid,) = [each["metadata"]["uid"] for each in stack.world.items("aj") if each["spec"]["jobId"] == job_id]
    selector = f"analysis.klipstream.io/job-uid={uid}"

    def pods() -> list[str]:
        found = json.loads(stack.world.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [each["metadata"]["name"] for each in found]

    stack.world.until(lambda: bool(pods()), "its pod")
    worker, replies = Worker(stack.world, pods()[0]), []

    def taken() -> bool:  # until the operator has recorded its Job, 503
        replies.append(worker.post(5))
        return replies[-1].status_code == 200

    stack.world.until(taken, "its post is taken")
    return dict(replies[-1].json())


def pages(gateway: Gateway, job_id: str) -> list[str]:
    """What the dashboard shows an administrator."""
    with gateway.client() as browser:
        form = {"credential": gateway.keys["admin"], "next": "/dashboard"}
        assert browser.post("/dashboard/sign-in", data=form, headers=BY_BROWSER).status_code == 303
        paths = ("/dashboard", f"/dashboard/jobs/{job_id}", "/dashboard/jobs", "/dashboard/queues/default")
        found = [browser.get(path) for path in paths]
    assert {page.status_code for page in found} == {200}
    assert job_id in found[1].text
    return [page.text for page in found]


def test_what_was_sealed_is_found_nowhere(stack, control_plane, gateways, relay: Relay, receivers: Receivers):
    if control_plane.audit_log is None:
        pytest.skip("kind's etcd is inside of its container")
    gateway, keyless = gateways
    plain, secret, token, signature, password = (f"canary-{uuid.uuid4().hex}" for _ in range(5))
    signing = new_secret()
    url = f"https://by:{password}@bucket.example.com/v.mp4?X-Amz-Expires=60&X-Amz-Signature={signature}"
    callback = receivers.url("mine").replace("127.0.0.1", "localhost")
    with gateway.client("submit") as submitter, keyless.client("submit") as unable:
        body = {"video_url": url, "params": {"fake_seconds": "3000", "plain": plain}, "metadata": {"user_id": secret},
                "callback_url": callback, "callback_token": token, "callback_secret": signing}  # fmt: skip
        taken = submitter.post("/api/v1/analysis", json=body, headers={"Idempotency-Key": "canary"})
        assert taken.status_code == 202, taken.text
        job_id = taken.json()["job_id"]
        again = submitter.post("/api/v1/analysis", json=body, headers={"Idempotency-Key": "canary"})
        other = submitter.post(
            "/api/v1/analysis", json=body | {"priority": "LOW"}, headers={"Idempotency-Key": "canary"}
        )
        batched = submitter.post("/api/v1/analysis/batch", json={"jobs": [{"video_url": url}]})
        refused = submitter.post("/api/v1/analysis", json=body | {"oops": token})
        without_key = unable.post("/api/v1/analysis", json=body | {"callback_url": "https://your-app.com/hook"})
    assert (again.status_code, other.status_code, refused.status_code) == (202, 409, 422)
    assert without_key.json()["code"] == "sealing-unavailable"
    assert "the signature in video_url" in without_key.json()["detail"]

    # It is opened where it is meant to be, so the words are the right ones to look for.
    opened = unsealed(stack, job_id)
    assert (opened["sealed_video_url"], opened["sealed_params"]) == (url, {"user_id": secret})
    assert stack.admin.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 202
    stack.until(job_id, "cancelled")
    until(lambda: "job.cancelled" in receivers.types("mine"), lambda: str(relay.deliveries()) + relay.said())
    headers = {name.lower(): value for name, value in receivers.received("mine")[-1].headers.items()}
    assert headers["authorization"] == f"Bearer {token}"

    with httpx.stream("GET", f"{gateway.url}/api/v1/jobs/{job_id}/events", timeout=60) as stream:
        events = stream.read()
    (stored,) = [each for each in stack.world.items("aj") if each["spec"]["jobId"] == job_id]
    assert stored["spec"]["videoUrl"] == "https://bucket.example.com/v.mp4"
    cluster = control_plane.audit_log.parent
    assert any("etcd" in name for name in holding(cluster, plain)), "what is not sealed is found, so the search works"
    assert any("ledger" in name for name in holding(relay.ledger.parent, job_id)), "and so is what the ledger keeps"
    with gateway.client("admin") as reader:
        answers = {
            "answers": [each.text for each in (taken, again, other, batched, refused, without_key)],
            "events of the job": [events],
            "status": [reader.get(f"/api/v1/jobs/{job_id}/status").text],
            "job": [reader.get(f"/api/v1/jobs/{job_id}").text],
            "jobs": [reader.get("/api/v1/jobs").text],
            "metrics": [httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics").text, relay.answer("/metrics")],
            "pages": pages(gateway, job_id),
            "objects": [stack.world.kubectl("get", "events,aj,aq,jobs,pods,configmaps,secrets", "-o", "json")],
            "deliveries": [relay.command("list", "--json").stdout],
            "bodies of webhooks": [each.raw for each in receivers.received()],
            "the operator's log": [stack.world.operator.said()],
        }
    assert job_id in answers["deliveries"][0]
    for word in (secret, token, signing, signature, password):
        assert holding(cluster, word) == [], "etcd, the audit log, the API server's log"
        assert holding(relay.ledger.parent, word) == [], "the ledger, the relay's log"
        assert holding(gateway.log.parent, word) == [], "the gateways' logs, their keys"
        assert [where for where, said in answers.items() if word in str(said)] == []
