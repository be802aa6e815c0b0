"""Who may do what: API keys, Kubernetes tokens, limits, and requests that mean harm."""

import json
import random
import time

import pytest

from klipgate.minute import early_in_a_minute
from klipgate.process import Gateway
from klipstream_gateway.routes import Scope

ROLES = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: %(name)s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %(name)s}
rules: %(rules)s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %(name)s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %(name)s}
subjects: [{kind: ServiceAccount, name: %(name)s}]
"""


CREATE, PATCH, LIST = (("analysis.klipstream.io", "analysisjobs", verb) for verb in ("create", "patch", "list"))
LOG, QUEUE = ("", "pods/log", "get"), ("analysis.klipstream.io", "analysisqueues", "patch")


def token(stack, name: str, *rights: tuple[str, str, str]) -> dict[str, str]:
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for group, resource, verb in rights]
    stack.world.kubectl("apply", "-f", "-", stdin=ROLES % {"name": name, "rules": json.dumps(rules)})
    return {"Authorization": f"Bearer {stack.world.kubectl('create', 'token', name).strip()}"}


@pytest.mark.parametrize(
    ("name", "rights", "allowed"),
    [
        ("may-create", (CREATE,), set()),
        ("may-submit", (CREATE, PATCH), {"submit", "cancel"}),
        ("may-list", (LIST,), set()),
        ("may-read", (LIST, LOG), {"read"}),
        ("may-patch-queues", (QUEUE,), set()),
        ("may-administrate", (CREATE, PATCH, LIST, LOG, QUEUE), {"submit", "cancel", "read", "admin"}),
    ],
)
def test_a_kubernetes_token_may_what_its_role_may_with_kubectl(stack, name, rights, allowed):
    headers = token(stack, name, *rights)
    job_id = stack.submit(queue="paused")
    answers = {
        "submit": stack.anyone.post(
            "/api/v1/analysis", json={"video_url": "https://example.com/v", "queue": "paused"}, headers=headers
        ),
        "cancel": stack.anyone.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers),
        "read": stack.anyone.get("/api/v1/jobs", headers=headers),
        "admin": stack.anyone.post("/api/v1/queue/pause?queue=paused", headers=headers),
    }
    assert {scope for scope, answer in answers.items() if answer.status_code < 300} == allowed
    assert {answer.status_code for scope, answer in answers.items() if scope not in allowed} <= {403}


def test_a_key_works_as_soon_as_it_is_there_and_no_longer_once_it_is_gone(stack):
    key = stack.gateway.add_key("new", Scope.READ)
    headers = {"Authorization": f"Bearer {key}"}
    deadline = time.monotonic() + 30
    while stack.anyone.get("/api/v1/jobs", headers=headers).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    (stack.gateway.keys_folder / f"{key.split('_')[1]}.json").unlink()
    while stack.anyone.get("/api/v1/jobs", headers=headers).status_code != 401:
        assert time.monotonic() < deadline + 30
        time.sleep(0.5)


def test_keys_are_stored_as_hashes_only(stack):
    stored = "".join(path.read_text() for path in stack.gateway.keys_folder.iterdir())
    for key in stack.gateway.keys.values():
        assert key.split("_", 2)[2] not in stored


def test_a_caller_cannot_choose_its_address(stack, control_plane, tmp_path):
    strict = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace, KLIPSTREAM_RATE_STATUS="3")
    proxied = Gateway(
        control_plane.kubeconfig, tmp_path, stack.world.namespace, KLIPSTREAM_RATE_STATUS="3",
        KLIPSTREAM_TRUSTED_PROXIES="127.0.0.0/8",
    )  # fmt: skip
    for gateway in (strict, proxied):
        gateway.start()
    try:
        codes = {}
        for gateway in (strict, proxied):
            gateway.wait()
            early_in_a_minute()
            with gateway.client() as client:
                codes[gateway] = [
                    client.get(
                        "/api/v1/queues", headers={"X-Forwarded-For": f"203.0.113.{n}, 198.51.100.{n}"}
                    ).status_code
                    for n in range(5)
                ]
        assert codes[strict] == [200, 200, 200, 429, 429]
        assert codes[proxied] == [200] * 5, "behind a trusted proxy each caller has a limit of its own"
    finally:
        strict.kill()
        proxied.kill()


def test_guessing_credentials_is_stopped(stack, control_plane, tmp_path):
    gateway = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace)
    gateway.start()
    try:
        gateway.wait()
        early_in_a_minute()
        with gateway.client() as client:
            codes = [
                client.get("/api/v1/jobs", headers={"Authorization": f"Bearer klip_{n:012x}_{'x' * 43}"}).status_code
                for n in range(40)
            ]
            assert codes == [401] * 30 + [429] * 10
            right = {"Authorization": f"Bearer {gateway.keys['read']}"}
            assert client.get("/api/v1/jobs", headers=right).status_code == 200, "it is valid, whoever sent the others"
    finally:
        gateway.kill()


def test_other_origins_are_not_let_in_by_default(stack):
    answer = stack.anyone.get("/api/v1/queue/status", headers={"Origin": "https://evil.example.com"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_thousand_broken_bodies_and_headers_are_never_a_server_error(stack):
    chance = random.Random(9)
    seeds = [
        b'{"video_url":"https://example.com/v","queue":"paused","metadata":{"a":"b"},"not_before":"2026-01-01T00:00:00Z"}',
        b'{"jobs":[{"video_url":"https://example.com/v","queue":"paused"}]}', b'{"priority":"HIGH"}',
        b'{"max_queue_size":100}', b"[" * 5000, b'{"a":' * 3000, b"\xff\xfe\x00", b'{"video_url":"\\ud800"}', b"1e999",
    ]  # fmt: skip
    headers = ("Idempotency-Key", "Content-Type", "X-Forwarded-For", "Last-Event-ID", "Accept")
    targets = [
        ("POST", "/api/v1/analysis"), ("POST", "/api/v1/analysis/batch"), ("PUT", "/api/v1/jobs/x/priority"),
        ("PUT", "/api/v1/queue/config"), ("POST", "/api/v1/jobs/%00/cancel"), ("GET", "/api/v1/jobs"),
    ]  # fmt: skip
    codes: dict[int, int] = {}
    for number in range(1000):
        body = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(6)):
            place = chance.randrange(len(body) + 1)
            body[place : place + chance.randrange(4)] = bytes(chance.randrange(256) for _ in range(chance.randrange(4)))
        sent = {"Content-Type": "application/json"}
        if number % 3 == 0:
            value = "".join(chr(chance.randrange(0x20, 0x7F)) for _ in range(chance.randrange(300)))
            sent[chance.choice(headers)] = value.strip()
        method, path = chance.choice(targets)
        query = "" if number % 5 else f"?{chance.choice(['cursor', 'limit', 'queue'])}=%{chance.randrange(256):02x}%00"
        answer = stack.admin.request(method, path + query, content=bytes(body), headers=sent)
        codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (method, path, query, bytes(body), sent, answer.text)
    assert sum(codes.values()) == 1000
