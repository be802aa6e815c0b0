"""Every operation in every case that applies to it, against the real API server: the contract as a table.

Which cases apply follows from the registry itself, and a test fails where the table misses one.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from klipgate.process import Gateway
from klipstream_gateway.blueprint import blueprint
from klipstream_gateway.problems import Problem
from klipstream_gateway.routes import RateClass, Route

ROUTES = {route.operation: route for route in blueprint()}
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
    fingerprint: str


@pytest.fixture(scope="module")
def jobs(stack) -> Jobs:
    stack.world.queue("small", mode="Paused", maxQueueSize=0)
    stack.world.queue("closing", mode="Draining")
    for queue in ("small", "closing"):
        stack.world.until(lambda q=queue: stack.anyone.get(f"/api/v1/queue/status?queue={q}").status_code == 200, queue)
    waiting, movable = stack.submit(queue="paused"), stack.submit(queue="paused")
    running = stack.submit(params={"fake_seconds": "600"})
    failed = stack.submit(params={"fake_seconds": "0.1", "fake_exits": "1"}, max_retries=0)
    done = stack.submit(params={"fake_seconds": "0.1"})
    stack.until(failed, "failed")
    stack.until(done, "completed")
    stack.until(running, "processing")

    def groups() -> list[Any]:
        return list(stack.admin.get("/api/v1/dead-letters/groups").json()["groups"])

    stack.world.until(lambda: bool(groups()), "a group of dead letters")
    return Jobs(waiting, movable, running, done, failed, groups()[0]["fingerprint"])


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
    yield Case("getJob", "success", 200, key="read", path=job_path("getJob", "done"))
    yield Case("getJobStatus", "success", 200, key=None, path=job_path("getJobStatus", "done"))
    yield Case("followJob", "success", 200, key=None, path=job_path("followJob", "done"))
    yield Case("cancelJob", "success", 202, key="submit", path=job_path("cancelJob", "waiting"))
    yield Case("setJobPriority", "success", 200, key="submit", path=job_path("setJobPriority", "movable"),
               json=BODIES["setJobPriority"])  # fmt: skip
    yield Case("retryJob", "success", 202, key="submit", path=job_path("retryJob", "failed"))
    for operation, status in ADMINISTRATION.items():
        yield Case(operation, "success", status, query="?queue=small")
    yield Case("setQueueConfig", "success", 200, json=BODIES["setQueueConfig"])
    yield Case("listDeadLetterGroups", "success", 200)
    yield Case("replayDeadLetterGroup", "success", 202, path=group_path)


def bad_input() -> Iterator[Case]:
    for operation, good in BODIES.items():
        path = job_path(operation, "waiting") if "{job_id}" in ROUTES[operation].path else None
        yield Case(operation, "bad input", 422, "invalid", path=path, json=good | {"no_such_field": 1})
        yield Case(operation, "bad input", 400, "bad-request", path=path, content=b'{"half":')
        yield Case(operation, "bad input", 422, "invalid", path=path, content=b"[1]")
        yield Case(operation, "bad input", 415, "unsupported-media-type", path=path, content=b"priority=HIGH",
                   headers=(("Content-Type", "application/x-www-form-urlencoded"),))  # fmt: skip
        yield Case(operation, "bad input", 413, "too-large", path=path, content=b" " * 70_000)
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
        elif route.query is None and route.body is None and not route.headers:
            path = job_path(operation, "done") if "{job_id}" in route.path else None
            yield Case(operation, "bad input", 400, "bad-request", path=path, query="?no_such=1")
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
    yield Case(
        "replayDeadLetterGroup", "not found", 404, "group-not-found", path=with_id("replayDeadLetterGroup", "none")
    )
    yield Case("getJobLogs", "not found", 404, "log-not-found", path=job_path("getJobLogs", "waiting"))


def conflict() -> Iterator[Case]:
    yield Case("submitAnalysis", "conflict", 409, "queue-full", json=VIDEO | {"queue": "small"})
    yield Case("submitAnalysis", "conflict", 409, "queue-draining", json=VIDEO | {"queue": "closing"})
    yield Case("cancelJob", "conflict", 409, "job-finished", path=job_path("cancelJob", "done"))
    yield Case("retryJob", "conflict", 409, "job-not-failed", path=job_path("retryJob", "done"))
    yield Case("setJobPriority", "conflict", 409, "job-finished", path=job_path("setJobPriority", "done"),
               json={"priority": "LOW"})  # fmt: skip
    yield Case("setJobPriority", "conflict", 409, "job-started", path=job_path("setJobPriority", "running"),
               json={"priority": "LOW"})  # fmt: skip


def path_has_variable(route: Route) -> bool:
    return "{" in route.path


# What changes the jobs of the others comes last.
TABLE = [*not_found(), *conflict(), *bad_input(), *wrong_auth(), *successes()]
OBSERVED: dict[str, set[int]] = {}


def send(client: httpx.Client, case: Case, jobs: Jobs) -> httpx.Response:
    path = case.path(jobs) if callable(case.path) else case.path or case.route.path
    content = (
        case.content if case.content is not None else None if case.json is None else json.dumps(case.json).encode()
    )
    headers = {"Content-Type": "application/json"} if content is not None else {}
    answer = client.request(case.route.method, path + case.query, content=content, headers=headers | dict(case.headers))
    OBSERVED.setdefault(case.operation, set()).add(answer.status_code)
    return answer


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.id)
def test_an_operation_answers_as_described(stack, jobs, case: Case):
    with stack.gateway.client(case.key) as client:
        answer = send(client, case, jobs)
    assert answer.status_code == case.status, answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if case.code is None:
        return
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["code"] == case.code
    assert problem["status"] == case.status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["type"] == f"/api/v1/problems#{case.code}"
    assert case.code in {each.value.code for each in case.route.all_problems}, "a problem that is not described"


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
def test_one_request_more_than_the_limit_is_refused_for_every_operation_of_the_kind(strict, jobs, kind: RateClass):
    routes = [route for route in ROUTES.values() if route.rate is kind]
    with httpx.Client(base_url=strict.url, headers={"Authorization": f"Bearer {strict.keys['submit']}"}) as client:
        # What is refused for its scope counts as well: one key, one limit.
        path = with_id(routes[0].operation, NOBODY)
        for number in range(LIMITS[kind]):
            answer = client.request(routes[0].method, path)
            assert answer.status_code != 429, answer.text
            assert answer.headers["RateLimit-Policy"] == f'"{kind.value}";q={LIMITS[kind]};w=60'
            assert f";r={LIMITS[kind] - number - 1};" in answer.headers["RateLimit"]
        for route in routes:
            answer = client.request(route.method, with_id(route.operation, NOBODY))
            OBSERVED.setdefault(route.operation, set()).add(answer.status_code)
            assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited"), route.operation
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
    with strict.client("admin") as other:
        assert other.get("/api/v1/queue/status").status_code == 200 or kind is not RateClass.STATUS


def test_the_table_holds_every_case_that_applies():
    missing = []
    for operation, route in ROUTES.items():
        statuses = {problem.status for problem in route.all_problems}
        wanted = {"success", "wrong auth"}
        wanted |= {"bad input"} if route.query or route.body or route.headers else set()
        wanted |= {"not found"} if 404 in statuses else set()
        specific = {p for p in route.problems if p.status == 409} - {Problem.CONFLICT}
        wanted |= {"conflict"} if specific else set()
        has = {case.case for case in TABLE if case.operation == operation}
        missing += [(operation, case) for case in sorted(wanted - has)]
    # A log needs a kubelet and so a node. A group of a draining queue is in test_gateway_queues, events of everything
    # are in test_gateway_events.
    assert missing == [("getJobLogs", "success"), ("replayDeadLetterGroup", "conflict"), ("followAll", "success")]


def test_zz_the_figures_of_the_table(strict):
    """Last: what was seen, for those who read the suite's last line."""
    limited = sum(1 for route in ROUTES.values() if route.rate is not None)
    seen = sum(len(each) for each in OBSERVED.values())
    print(f"\n{len(ROUTES)} endpoints x {len(TABLE) + limited} cases passed, {seen} statuses seen")
    if (folder := os.environ.get("KLIPSTREAM_CONTRACT_FOLDER")) is not None:
        Path(folder, "observed.json").write_text(json.dumps({k: sorted(v) for k, v in OBSERVED.items()}))
