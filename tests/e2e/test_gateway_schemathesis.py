"""Requests made up from the description itself, at length: what the gateway answers must be what it describes."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from klipgate.made_up import LEFT_OUT, run
from klipgate.stack import Stack, stacked
from klipstream_gateway.blueprint import blueprint

EXAMPLES = 100
FOLDER = Path(__file__).resolve().parents[2] / "build" / "schemathesis"
"""Every request and answer of the last run."""
SEEN_AT_LEAST = {200, 202, 400, 401, 404, 409, 415, 422}
"""The others need a key that may less (403), a larger body (413), limits (429), or an API server that is away (503).
test_gateway_contract.py sees every status of every operation."""


@pytest.fixture(scope="module")
def stack(control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    with stacked(kubectl, control_plane.kubeconfig, home, tmp_path_factory.mktemp("gateway")) as stack:
        yield stack
    kubectl("delete", "namespace", home, "--wait=false")


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_the_gateway_answers_as_it_describes_itself(stack: Stack, figures: Callable[[str], None]) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    phases = "examples,coverage,fuzzing,stateful"
    findings = run(stack, FOLDER, examples=EXAMPLES, phases=phases, seconds=7000)
    for operation, counts in findings.seen.items():
        print(f"{operation:<24}" + "".join(f"{status:>6}:{count:<6}" for status, count in sorted(counts.items())))
    assert findings.passed, findings.said
    described = [route for route in blueprint() if route.operation not in LEFT_OUT]
    assert findings.seen.keys() == {route.operation for route in described}
    assert {status for counts in findings.seen.values() for status in counts} >= SEEN_AT_LEAST
    # Where nothing can be varied, such as in GET /queues, there is one request to make up.
    varied = [route for route in described if route.query is not None or route.body is not None or "{" in route.path]
    few = {route.operation: findings.seen[route.operation].total() for route in varied}
    assert {operation for operation, requests in few.items() if requests < EXAMPLES} == set()
    figures(
        f"schemathesis: {len(described)} operations, {EXAMPLES} examples for each,"
        f" {findings.requests} requests, none of them answered otherwise than described"
    )
