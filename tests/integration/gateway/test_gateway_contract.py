"""Every operation in every case that applies to it, against the real API server: the contract as a table.

Which cases apply follows from the registry itself, and a test fails where the table misses one, or a status that is
documented. Each answer is held against its description. How many passed is said at the end (conftest.py).
"""

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from klipfake.ports import free_port
from klipfault.faults import Refuse, Rule
from klipfault.proxy import FaultProxy
from klipgate.minute import early_in_a_minute
from klipgate.process import Gateway
from klipstream_gateway.blueprint import blueprint
from klipstream_gateway.description import description_routes
from klipstream_gateway.openapi import document
from klipstream_gateway.problems import Problem
from klipstream_gateway.routes import RateClass, Route

LOGS = True
DESCRIBED = blueprint()
DOCUMENT = document(DESCRIBED)
ADDRESSES = itertools.count(1)
"""Of callers with wrong credentials, of whom a gateway takes only so many from one address."""
ROUTES = {route.operation: route for route in (*DESCRIBED, *description_routes(DESCRIBED))}
VIDEO = {"video_url": "https://example.com/contract.mp4"}
NOBODY = "00000000-0000-4000-8000-000000000000"
LIMITS = {RateClass.STATUS: 100, RateClass.SUBMIT: 10, RateClass.CHANGE: 60, RateClass.ADMIN: 5}


@dataclass(frozen=True)
class Case:
    """One request, and what it is answered. `path` may be made from the jobs that there are."""

    operation: str
    case: str
    status: int
    code: str | None = None
    key: str | None = "admin"
    path: Callable[["Jobs"], str] | str | None = None
    query: str = ""
    json: Any = None
    content: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def route(self) -> Route:
        return ROUTES[self.operation]

    @property
    def id(self) -> str:
        return f"{self.operation}-{self.case}-{self.code or self.status}"


@dataclass(frozen=True)
class Jobs:
    """Jobs in every state that the table needs."""

    waiting: str
    movable: str
    running: str
    done: str
    failed: str
    again: str
    """Failed as well, and retried at the end."""
    stranded: str
    """Failed, in a queue that is draining."""
    fingerprint: str


@pytest.fixture(scope="module")
def jobs(stack) -> Jobs:
    stack.world.queue("small", mode="Paused", maxQueueSize=0)
    stack.world.queue("closing")
    for queue in ("small", "closing"):
        stack.world.until(lambda q=queue: stack.anyone.get(f"/api/v1/queue/status?queue={q}").status_code == 200, queue)
    waiting, movable = stack.submit(queue="paused"), stack.submit(queue="paused")
    running = stack.submit(params={"fake_seconds": "600"})
    taken = {"json": VIDEO | {"queue": "paused", "priority": "LOW"}, "headers": {"Idempotency-Key": "taken"}}
    assert stack.admin.post("/api/v1/analysis", **taken).status_code == 202
    failed, again = (
        stack.submit(params={"fake_seconds": "0.1", "fake_exits": "1"}, max_retries=0) for _ in range(2)
    )  # fmt: skip
    done = stack.submit(params={"fake_seconds": "0.1"})
    bad = stack.submit(queue="closing", params={"fake_seconds": "0.1", "fake_exits": "1"}, max_retries=0)
    stack.until(failed, "failed")
    stack.until(again, "failed")
    stack.until(done, "completed")
    stack.until(bad, "failed")
    stack.world.change("aq", "closing", mode="Draining")
    stack.until(running, "processing")

    def groups() -> list[Any]:
        return list(stack.admin.get("/api/v1/dead-letters/groups").json()["groups"])

    def draining() -> bool:
        return bool(stack.anyone.get("/api/v1/queue/status?queue=closing").json()["state"] == "draining")

    stack.world.until(lambda: {each["queue"] for each in groups()} == {"default", "closing"}, "dead letters")
    stack.world.until(draining, "the queue is draining")
    return Jobs(waiting, movable, running, done, failed, again, bad, groups()[0]["fingerprint"])


def job_path(operation: str, which: str) -> Callable[[Jobs], str]:
    return lambda jobs: ROUTES[operation].path.replace("{job_id}", getattr(jobs, which))


def group_path(jobs: Jobs) -> str:
    return ROUTES["replayDeadLetterGroup"].path.replace("{fingerprint}", jobs.fingerprint)


def with_id(operation: str, value: str) -> str:
    return ROUTES[operation].path.replace("{job_id}", value).replace("{fingerprint}", value)


OF_JOBS = ("getJob", "getJobStatus", "followJob", "getJobLogs", "cancelJob", "retryJob", "setJobPriority")
ADMINISTRATION = {
    "pauseQueue": 200, "resumeQueue": 200, "drainQueue": 200, "clearQueue": 202, "clearStuck": 202,
    "restartOperator": 202, "reconcileQueue": 202,
}  # fmt: skip
BODIES: dict[str, Any] = {
    "submitAnalysis": VIDEO | {"queue": "paused"}, "submitBatch": {"jobs": [VIDEO | {"queue": "paused"}]},
    "setJobPriority": {"priority": "HIGH"}, "setQueueConfig": {"max_concurrent_jobs": 2},
}  # fmt: skip


def successes() -> Iterator[Case]:
    yield Case("submitAnalysis", "success", 202, key="submit", json=BODIES["submitAnalysis"])
    yield Case("submitBatch", "success", 200, key="submit", json=BODIES["submitBatch"])
    for operation in ("listJobs", "listDeadLetters", "getQueueConfig"):
        yield Case(operation, "success", 200, key="read")
    for operation in ("getQueueStatus", "getQueueMetrics", "listQueues", "listProblems", "getLiveness", "getReadiness"):
        yield Case(operation, "success", 200, key=None)
    for operation in sorted(ROUTES.keys() - {route.operation for route in DESCRIBED}):
        yield Case(operation, "success", 200, key=None)
    yield Case("followAll", "success", 200, key="read")
    yield Case("getJobLogs", "success", 200, key="read", path=job_path("getJobLogs", "failed"))
    yield Case("getJob", "success", 200, key="read", path=job_path("getJob", "done"))
    yield Case("getJobStatus", "success", 200, key=None, path=job_path("getJobStatus", "done"))
    yield Case("followJob", "success", 200, key=None, path=job_path("followJob", "done"))
    yield Case("followJob", "success", 204, key=None, path=job_path("followJob", "done"),
               headers=(("Last-Event-ID", "999999999999"),))  # fmt: skip
    yield Case("cancelJob", "success", 202, key="submit", path=job_path("cancelJob", "waiting"))
    yield Case("setJobPriority", "success", 200, key="submit", path=job_path("setJobPriority", "movable"),
               json=BODIES["setJobPriority"])  # fmt: skip
    yield Case("retryJob", "success", 202, key="submit", path=job_path("retryJob", "again"))
    for operation, status in ADMINISTRATION.items():
        yield Case(operation, "success", status, query="?queue=small")
    yield Case("setQueueConfig", "success", 200, json=BODIES["setQueueConfig"])
    yield Case("listDeadLetterGroups", "success", 200)
    yield Case("replayDeadLetterGroup", "success", 202, path=group_path, query="?queue=default")


def bad_input() -> Iterator[Case]:
    for operation, good in BODIES.items():
        path = job_path(operation, "waiting") if "{job_id}" in ROUTES[operation].path else None
        yield Case(operation, "bad input", 422, "invalid", path=path, json=good | {"no_such_field": 1})
        yield Case(operation, "bad input", 400, "bad-request", path=path, content=b'{"half":')
        yield Case(operation, "bad input", 422, "invalid", path=path, content=b"[1]")
        yield Case(operation, "bad input", 415, "unsupported-media-type", path=path, content=b"priority=HIGH",
                   headers=(("Content-Type", "application/x-www-form-urlencoded"),))  # fmt: skip
        size = 4_300_000 if ROUTES[operation].many else 70_000
        yield Case(operation, "bad input", 413, "too-large", path=path, content=b" " * size)
    yield Case("submitAnalysis", "bad input", 422, "invalid", json={"video_url": "ftp://example.com/v"})
    yield Case("submitAnalysis", "bad input", 422, "invalid", json=VIDEO, headers=(("Idempotency-Key", "a b"),))
    yield Case("setQueueConfig", "bad input", 422, "invalid", json={})
    for operation, route in ROUTES.items():
        if route.query is not None and route.body is None:
            path = None
            if "{job_id}" in route.path:
                path = job_path(operation, "done")
            elif "{fingerprint}" in route.path:
                path = group_path
            yield Case(operation, "bad input", 422, "invalid", path=path, query="?no_such=1")
        elif route.query is None and route.body is None:
            path = job_path(operation, "done") if "{job_id}" in route.path else None
            yield Case(operation, "bad input", 400, "bad-request", path=path, query="?no_such=1")
        if route.method == "POST" and route.body is None:
            path = job_path(operation, "done") if "{job_id}" in route.path else None
            path = group_path if "{fingerprint}" in route.path else path
            yield Case(operation, "bad input", 400, "bad-request", path=path, content=b'{"queue": "small"}')
    yield Case("followJob", "bad input", 422, "invalid", path=job_path("followJob", "done"),
               headers=(("Last-Event-ID", "x"),))  # fmt: skip
    yield Case("listJobs", "bad input", 422, "invalid", query="?cursor=bm90aGluZw")
    yield Case("listJobs", "bad input", 422, "invalid", query="?limit=1&limit=2")


def wrong_auth() -> Iterator[Case]:
    for operation, route in ROUTES.items():
        path = route.path
        if path_has_variable(route):
            path = job_path(operation, "done") if "{job_id}" in route.path else group_path
        common = {"path": path, "json": BODIES.get(operation)}
        yield Case(operation, "wrong auth", 401, "unauthenticated", key="expired", **common)
        if route.scope is not None:
            yield Case(operation, "wrong auth", 401, "unauthenticated", key=None, **common)
            lacking = {"submit": "read", "read": "submit", "admin": "red"}[route.scope.value]
            yield Case(operation, "wrong auth", 403, "forbidden", key=lacking, **common)


def not_found() -> Iterator[Case]:
    for operation in OF_JOBS:
        body = BODIES.get(operation)
        yield Case(operation, "not found", 404, "job-not-found", path=with_id(operation, NOBODY), json=body)
        yield Case(operation, "not found", 404, "job-not-found", path=with_id(operation, "%24x"), json=body)
    for operation, route in ROUTES.items():
        if (
            Problem.QUEUE_NOT_FOUND in route.problems
            and route.query is not None
            and operation != "replayDeadLetterGroup"
        ):
            yield Case(
                operation, "not found", 404, "queue-not-found", query="?queue=nowhere", json=BODIES.get(operation)
            )
    yield Case("submitAnalysis", "not found", 404, "queue-not-found", json=VIDEO | {"queue": "nowhere"})
    yield Case("replayDeadLetterGroup", "not found", 404, "queue-not-found", path=group_path, query="?queue=nowhere")
    yield Case(
        "replayDeadLetterGroup", "not found", 404, "group-not-found", path=with_id("replayDeadLetterGroup", "none")
    )
    yield Case("getJobLogs", "not found", 404, "log-not-found", path=job_path("getJobLogs", "waiting"))


def conflict() -> Iterator[Case]:
    yield Case("submitAnalysis", "conflict", 409, "idempotency-key-reused", json=BODIES["submitAnalysis"],
               headers=(("Idempotency-Key", "taken"),))  # fmt: skip
    yield Case("submitAnalysis", "conflict", 409, "queue-full", json=VIDEO | {"queue": "small"})
    yield Case("submitAnalysis", "conflict", 409, "queue-draining", json=VIDEO | {"queue": "closing"})
    yield Case("cancelJob", "conflict", 409, "job-finished", path=job_path("cancelJob", "done"))
    yield Case("retryJob", "conflict", 409, "job-not-failed", path=job_path("retryJob", "done"))
    yield Case("retryJob", "conflict", 409, "queue-draining", path=job_path("retryJob", "stranded"))
    yield Case("replayDeadLetterGroup", "conflict", 409, "queue-draining", path=group_path, query="?queue=closing")
    yield Case("setJobPriority", "conflict", 409, "job-finished", path=job_path("setJobPriority", "done"),
               json={"priority": "LOW"})  # fmt: skip
    yield Case("setJobPriority", "conflict", 409, "job-started", path=job_path("setJobPriority", "running"),
               json={"priority": "LOW"})  # fmt: skip


def path_has_variable(route: Route) -> bool:
    return "{" in route.path


def unavailable() -> Iterator[Case]:
    """The API server does not answer, so nobody can say whose a Kubernetes token is."""
    for operation, route in ROUTES.items():
        path = with_id(operation, NOBODY) if path_has_variable(route) else None
        yield Case(operation, "unavailable", 503, "unavailable", key="a-kubernetes-token", path=path)
    yield Case("getReadiness", "unavailable", 503, "not-ready", key=None)


def changed_meanwhile() -> Iterator[Case]:
    for operation, route in ROUTES.items():
        if Problem.CONFLICT not in route.problems or operation in CONFLICTS_SEEN_OTHERWISE:
            continue
        path = None
        if path_has_variable(route):
            which = {"retryJob": "failed"}.get(operation, "movable")
            path = job_path(operation, which) if "{job_id}" in route.path else group_path
        query = {"replayDeadLetterGroup": "?queue=default"}.get(operation, "?queue=small" if route.query else "")
        yield Case(operation, "conflict", 409, "conflict", path=path, query=query, json=BODIES.get(operation))


CONFLICTS_SEEN_OTHERWISE = ("submitAnalysis",)
"""The job of its Idempotency-Key would have to be removed between two requests that the gateway makes at once."""
# What changes the jobs of the others comes last.
TABLE = [*not_found(), *conflict(), *bad_input(), *wrong_auth(), *successes()]
SENSITIVE = VIDEO | {"queue": "paused", "metadata": {"user": "1"}}
REFUSED = [
    *changed_meanwhile(), Case("submitAnalysis", "bad input", 422, "sealing-unavailable", key="submit", json=SENSITIVE),
]  # fmt: skip
DEAD = list(unavailable())
LIMITED = [
    Case(operation, "rate limited", 429, "rate-limited", key="submit", path=with_id(operation, NOBODY))
    for operation, route in ROUTES.items()
    if route.rate is not None
]
EVERY_CASE = [*TABLE, *REFUSED, *DEAD, *LIMITED]


def name_of(case: Case) -> str:
    """The case for people, unlike any other."""
    same = [each for each in EVERY_CASE if each.id == case.id]
    return case.id if len(same) == 1 else f"{case.id}-{same.index(case)}"


def send(client: httpx.Client, case: Case, jobs: Jobs) -> httpx.Response:
    """The answer; of a stream that goes on its beginning."""
    path = case.path(jobs) if callable(case.path) else case.path or case.route.path
    content = (
        case.content if case.content is not None else None if case.json is None else json.dumps(case.json).encode()
    )
    headers = ({"Content-Type": "application/json"} if content is not None else {}) | dict(case.headers)
    if case.key == "a-kubernetes-token":
        headers["Authorization"] = "Bearer a-kubernetes-token"
    if case.case == "wrong auth":
        headers["X-Forwarded-For"] = f"198.51.100.{next(ADDRESSES)}"
    with client.stream(case.route.method, path + case.query, content=content, headers=headers) as answer:
        if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            assert next(answer.iter_raw()).startswith(b"retry: ")
        else:
            answer.read()
    return answer


def check(answer: httpx.Response, case: Case) -> None:
    """It is what the table says, and what the description says."""
    streams = answer.headers.get("Content-Type", "").startswith("text/event-stream")
    assert answer.status_code == case.status, "a stream" if streams else answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-Id"]
    if case.code is not None:
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        problem = answer.json()
        assert problem["code"] == case.code
        assert problem["status"] == case.status
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert problem["type"] == f"/api/v1/problems#{case.code}"
        assert case.code in {each.value.code for each in case.route.all_problems}, "a problem that is not described"
    if case.route in DESCRIBED:
        response = DOCUMENT["paths"][case.route.path][case.route.method.lower()]["responses"][str(case.status)]
        if "$ref" in response:
            response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
        if "content" not in response:
            assert answer.content == b""
            return
        ((media_type, content),) = response["content"].items()
        assert answer.headers["Content-Type"].partition(";")[0] == media_type
        assert {name.lower() for name in response["headers"]} - OPTIONAL_HEADERS <= set(answer.headers)
        if media_type.endswith("json"):
            schema = content["schema"] | {"components": DOCUMENT["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json())


OPTIONAL_HEADERS = {"idempotency-replayed", "ratelimit", "ratelimit-policy", "retry-after"}


@pytest.fixture(scope="module")
def refused(stack, jobs, control_plane, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway whose every change meets another's, and that has no key to seal with."""
    folder = tmp_path_factory.mktemp("refused")
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def do(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    proxy = FaultProxy(control_plane.kubeconfig)
    do(proxy.__aenter__())
    proxy.rules.append(Rule(Refuse(409), verbs=frozenset({"patch"})))
    gateway = Gateway(proxy.write_kubeconfig(folder / "kubeconfig"), folder, stack.world.namespace)
    gateway.start()
    try:
        gateway.wait()
        yield gateway
    finally:
        gateway.kill()
        do(proxy.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_what_the_gateway_cannot_do_now_is_refused(refused, jobs, case: Case):
    with refused.client(case.key) as client:
        check(send(client, case, jobs), case)


@pytest.mark.parametrize("case", TABLE, ids=name_of)
def test_an_operation_answers_as_described(stack, jobs, case: Case):
    with stack.gateway.client(case.key) as client:
        check(send(client, case, jobs), case)


@pytest.fixture(scope="module")
def dead(stack, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway whose API server does not answer."""
    folder = tmp_path_factory.mktemp("dead")
    server = {"server": f"http://127.0.0.1:{free_port()}"}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "dead", "users": [{"name": "dead", "user": {}}],
        "clusters": [{"name": "dead", "cluster": server}],
        "contexts": [{"name": "dead", "context": {"cluster": "dead", "user": "dead"}}],
    }  # fmt: skip
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    gateway = Gateway(folder / "kubeconfig", folder, stack.world.namespace, KLIPSTREAM_REQUEST_SECONDS="1")
    gateway.start()
    try:
        stack.world.until(partial(gateway.answers, "/healthz"), "it is alive")
        yield gateway
    finally:
        gateway.kill()


@pytest.mark.parametrize("case", DEAD, ids=name_of)
def test_without_an_api_server_an_operation_says_so(dead, jobs, case: Case):
    with dead.client() as client:
        answer = send(client, case, jobs)
    check(answer, case)
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.fixture(scope="module")
def strict(stack, control_plane, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway with the guide's limits."""
    limits = {f"KLIPSTREAM_RATE_{kind.name}": str(limit) for kind, limit in LIMITS.items()}
    gateway = Gateway(control_plane.kubeconfig, tmp_path_factory.mktemp("strict"), stack.world.namespace, **limits)
    gateway.start()
    try:
        gateway.wait()
        yield gateway
    finally:
        gateway.kill()


@pytest.mark.parametrize("kind", list(LIMITS), ids=lambda kind: kind.value)
def test_each_answer_says_what_is_left_of_the_limit(strict, kind: RateClass):
    """What is refused for its scope counts as well: one key, one limit."""
    route = next(route for route in ROUTES.values() if route.rate is kind)
    early_in_a_minute()
    with strict.client("read") as client:
        for number in range(LIMITS[kind]):
            answer = client.request(route.method, with_id(route.operation, NOBODY))
            assert answer.status_code != 429, answer.text
            assert answer.headers["RateLimit-Policy"] == f'"{kind.value}";q={LIMITS[kind]};w=60'
            assert f";r={LIMITS[kind] - number - 1};" in answer.headers["RateLimit"]
        assert client.request(route.method, with_id(route.operation, NOBODY)).status_code == 429


@pytest.mark.parametrize("case", LIMITED, ids=name_of)
def test_one_request_more_than_the_limit_is_refused(strict, jobs, case: Case):
    assert case.route.rate is not None
    early_in_a_minute()
    same = next(route for route in ROUTES.values() if route.rate is case.route.rate)
    with strict.client(case.key) as client:
        for _ in range(LIMITS[case.route.rate] + 1):
            if client.request(same.method, with_id(same.operation, NOBODY)).status_code == 429:
                break
        answer = send(client, case, jobs)
    check(answer, case)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_one_callers_limit_is_not_anothers(strict):
    early_in_a_minute()
    with strict.client("blue") as client:
        for _ in range(LIMITS[RateClass.STATUS] + 1):
            answer = client.get("/api/v1/queue/status")
        assert answer.status_code == 429
    with strict.client("red") as other:
        assert other.get("/api/v1/queue/status").status_code == 200


def test_the_table_holds_every_case_that_applies():
    missing = []
    for operation, route in ROUTES.items():
        statuses = {problem.status for problem in route.all_problems}
        wanted = {"success", "wrong auth", "bad input", "unavailable"}
        wanted |= {"rate limited"} if 429 in statuses else set()
        wanted |= {"not found"} if 404 in statuses else set()
        wanted |= {"conflict"} if 409 in statuses else set()
        has = {case.case for case in EVERY_CASE if case.operation == operation}
        missing += [(operation, case) for case in sorted(wanted - has)]
    assert missing == []


def test_every_status_that_is_documented_is_seen_and_no_other():
    """Those that the table expects are seen, since its tests pass."""
    differing = {}
    for route in DESCRIBED:
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        documented = {int(status) for status in responses}
        seen = {case.status for case in EVERY_CASE if case.operation == route.operation}
        if documented != seen:
            differing[route.operation] = documented ^ seen
    assert differing == {}


def test_every_code_of_a_problem_is_seen():
    unseen = {
        (route.operation, problem.value.code)
        for route in ROUTES.values()
        for problem in route.problems
        if problem.value.code not in {case.code for case in EVERY_CASE if case.operation == route.operation}
    }
    assert unseen == {(operation, "conflict") for operation in CONFLICTS_SEEN_OTHERWISE}
