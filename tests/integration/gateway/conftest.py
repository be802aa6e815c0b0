"""A namespace with a real operator, a fake kubelet and a gateway, for all tests of a module."""

import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from klipgate.stack import Stack, stacked


@pytest.fixture(scope="module")
def stack(request, control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    """With a node that serves logs where the module says LOGS = True."""
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    folder, node = tmp_path_factory.mktemp("gateway"), getattr(request.module, "LOGS", False)
    with stacked(kubectl, control_plane.kubeconfig, home, folder, node) as stack:
        yield stack
    if node:
        kubectl("delete", "nodes", "--all", "--wait=false")
    kubectl("delete", "namespace", home, "--wait=false")


CASES = ("success", "bad input", "wrong auth", "rate limited", "not found", "conflict", "unavailable")
SEEN: dict[str, Counter[str]] = {}
FAILED: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Count the cases of the contract table."""
    report = yield
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")
    if case is not None and item.path.name == "test_gateway_contract.py":
        if report.when == "call" and report.passed:
            SEEN.setdefault(case.operation, Counter())[case.case] += 1
        elif report.failed:
            FAILED.append(item.name)
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """The table, and its figures as the last line of a run. Where several processes share the tests, none has all."""
    if not SEEN or config.option.numprocesses or hasattr(config, "workerinput"):
        return
    print(f"{'requests that were answered as described':<42}" + "".join(f"{case:>13}" for case in CASES))
    for operation, counts in SEEN.items():
        print(f"{operation:<42}" + "".join(f"{counts[case] or '-':>13}" for case in CASES))
    requests = sum(counts.total() for counts in SEEN.values())
    verdict = f"{len(FAILED)} FAILED" if FAILED else "passed"
    print(f"{len(SEEN)} endpoints x {len(CASES)} cases {verdict}, {requests} requests")
