"""What doctor says of the operators' Leases: every shard has a leader, and what another layout left is no fault."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klipstream_cli.findings import Finding
from klipstream_cli.leaders import leaders

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def lease(name: str, holder: str = "", seconds_ago: float = 1.0, namespace: str = "here") -> dict[str, Any]:
    renewed = (NOW - timedelta(seconds=seconds_ago)).isoformat()
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def deployments(name: str, shards: int = 1, namespace: str = "here") -> list[dict[str, Any]]:
    """As the chart makes them."""
    if shards == 1:
        return [{"metadata": {"name": name, "namespace": namespace, "labels": {}}}]
    labels = "analysis.klipstream.io/shard", "analysis.klipstream.io/shards"
    return [
        {"metadata": {"name": f"{name}-{n}", "namespace": namespace,
                      "labels": dict(zip(labels, (str(n), str(shards)), strict=True))}}
        for n in range(shards)
    ]  # fmt: skip


TWO = deployments("r-operator", 2)
BOTH = [lease("r-operator-0-of-2", "a"), lease("r-operator-1-of-2", "b")]
ONE_LEADS = "a leads (here/r-operator-0-of-2)"
BOTH_LEAD = [("ok", ONE_LEADS), ("ok", "b leads (here/r-operator-1-of-2)")]


def said(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.state, each.message) for each in found]


@pytest.mark.parametrize(
    ("about", "leases", "installed", "expected"),
    [
        ("one shard", [lease("r-operator", "a")], deployments("r-operator"), [("ok", "a leads (here/r-operator)")]),
        ("two", BOTH, TWO, BOTH_LEAD),
        ("one was never led", BOTH[:1], TWO,
         [("ok", ONE_LEADS), ("failed", "no operator has ever held here/r-operator-1-of-2")]),
        ("none was ever led", [], TWO,
         [("failed", f"no operator has ever held here/r-operator-{n}-of-2") for n in (0, 1)]),
        ("one is held by nobody", [BOTH[0], lease("r-operator-1-of-2")], TWO,
         [("ok", ONE_LEADS), ("failed", "here/r-operator-1-of-2 is held by nobody")]),
        ("one has frozen", [BOTH[0], lease("r-operator-1-of-2", "b", 60)], TWO,
         [("ok", ONE_LEADS), ("failed", "b last renewed here/r-operator-1-of-2 60s ago")]),
        ("one was a layout of its own before", [lease("r-operator"), *BOTH], TWO, BOTH_LEAD),
        ("three were, and one of them died", [lease("r-operator-2-of-3", "x", 3600), *BOTH], TWO, BOTH_LEAD),
        ("they were two before", [lease("r-operator", "c"), lease("r-operator-0-of-2"), lease("r-operator-1-of-2")],
         deployments("r-operator"), [("ok", "c leads (here/r-operator)")]),
        ("an earlier leader goes on", [lease("r-operator", "old"), *BOTH], TWO,
         [*BOTH_LEAD, ("warning", "old leads (here/r-operator), although there are 2 shards now")]),
        ("an upgrade is under way", BOTH, [*deployments("r-operator"), *TWO], BOTH_LEAD),
        ("another release's are its own", [*BOTH, lease("s-operator-1-of-2", "x")], TWO, BOTH_LEAD),
        ("a Lease of somebody else", [lease("other-1-of-2", "x")], [], []),
    ],
)  # fmt: skip
def test_every_shard_of_today_is_looked_at_and_no_other(
    about: str, leases: list[dict[str, Any]], installed: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    assert said(leaders(leases, installed, "here", NOW)) == expected, about


def test_without_deployments_the_shards_are_those_that_were_renewed_last() -> None:
    """Operators that run elsewhere, or a user who may not look at Deployments."""
    old = lease("klipstream-operator", "", 900)
    found = leaders([old, lease("klipstream-operator-1-of-2", "b")], [], "here", NOW)
    assert said(found) == [
        ("failed", "no operator has ever held here/klipstream-operator-0-of-2"),
        ("ok", "b leads (here/klipstream-operator-1-of-2)"),
    ]


def test_operators_of_other_namespaces_count_where_there_is_none_here() -> None:
    """And those that nobody leads are left out, as long as somebody leads."""
    there = [lease("r-operator-0-of-2", "a", namespace="there"), lease("r-operator-1-of-2", namespace="there")]
    leases = [*there, lease("klipstream-operator", "", namespace="left")]
    found = said(leaders(leases, deployments("r-operator", 2, "there"), "here", NOW))
    assert found == [
        ("ok", "a leads (there/r-operator-0-of-2)"), ("failed", "there/r-operator-1-of-2 is held by nobody"),
    ]  # fmt: skip
    here = said(leaders([*leases, lease("klipstream-operator", "c")], [], "here", NOW))
    assert here == [("ok", "c leads (here/klipstream-operator)")]
