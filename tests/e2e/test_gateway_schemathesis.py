"""Requests made up from the description itself, at length: what the gateway answers must be what it describes."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from klipgate.made_up import LEFT_OUT, run
from klipgate.stack import Stack, stacked
from klipstream_gateway.blueprint import blueprint
from klipstream_gateway.openapi import document

EXAMPLES = 100
UNSEEN = {
    403: "the key may do everything",
    413: "no example is that large",
    429: "the limits are off, or all would be this",
    503: "the API server answers",
}
"""Statuses that are documented and need not be seen here. The table of test_gateway_contract.py sees all of them."""
CHANCE = {
    ("getJobLogs", 200), ("retryJob", 202), ("retryJob", 409), ("replayDeadLetterGroup", 202), ("setJobPriority", 409),
    ("cancelJob", 409), ("replayDeadLetterGroup", 409),
}  # fmt: skip
"""Seen where a job happens to be in the right state; the table sees them as well."""


@pytest.fixture(scope="module")
def stack(control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    with stacked(kubectl, control_plane.kubeconfig, home, tmp_path_factory.mktemp("gateway")) as stack:
        yield stack
    kubectl("delete", "namespace", home, "--wait=false")


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_the_gateway_answers_as_it_describes_itself(
    stack: Stack, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    phases = "examples,coverage,fuzzing,stateful"
    findings = run(stack, tmp_path, examples=EXAMPLES, phases=phases, seconds=7000)
    for operation, counts in findings.seen.items():
        print(f"{operation:<24}" + "".join(f"{status:>6}:{count:<6}" for status, count in sorted(counts.items())))
    assert findings.passed, findings.said
    unseen = {}
    described = [route for route in blueprint() if route.operation not in LEFT_OUT]
    for route in described:
        responses = document(blueprint())["paths"][route.path][route.method.lower()]["responses"]
        statuses = {int(status) for status in responses} - UNSEEN.keys() - findings.seen[route.operation].keys()
        unseen |= {(route.operation, status): None for status in statuses}
    assert unseen.keys() <= CHANCE
    figures(
        f"schemathesis: {len(described)} operations, {EXAMPLES} examples for each and those of their bounds,"
        f" {findings.requests} requests, none of them answered otherwise than described"
    )
