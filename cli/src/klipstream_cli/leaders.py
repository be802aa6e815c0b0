"""Whether somebody leads: what doctor makes of the operators' Leases, of which each shard has one (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from klipstream_cli.findings import Finding
from klipstream_cli.times import seconds_since, span

DEFAULT = "klipstream-operator"
"""What an operator is called that nobody gave a name."""
SHARD, SHARDS = "analysis.klipstream.io/shard", "analysis.klipstream.io/shards"
"""Labels of the Deployment of a shard: its number, and how many there are."""
LEASE_OF_SHARD = re.compile(r"(.+)-(\d{1,2})-of-(\d{1,2})")
LEASE_SECONDS = 15.0
Operator = tuple[str, str]
"""Namespace, and the name that its Deployments and Leases begin with."""
Leases = dict[tuple[int, int], dict[str, Any]]
"""Of one operator, by (number of the shard, how many there are)."""


def leaders(leases: list[dict[str, Any]], deployments: list[dict[str, Any]], here: str, now: datetime) -> list[Finding]:
    """Who leads, from all Leases and the operators' Deployments of the namespaces that may be looked at.

    Several operators may share a cluster: those of the namespace `here` count where there are any, and where some are
    led the others are left out. Empty where there is no operator at all.
    """
    installed = _installed(deployments)
    found = _by_operator(leases, {DEFAULT} | {name for _, name in installed})
    for operator, shards in installed.items():
        if shards > 1:
            found.setdefault(operator, {})
    near = {operator: each for operator, each in found.items() if operator[0] == here} or found
    told = [list(_of_operator(operator, each, installed.get(operator), now)) for operator, each in near.items()]
    led = [each for each in told if any(finding.state == "ok" for finding in each)]
    return [finding for each in led or told for finding in each]


def lease_name(operator: str, shard: int, shards: int) -> str:
    """The Lease of the leader of a shard."""
    return operator if shards == 1 else f"{operator}-{shard}-of-{shards}"


def _installed(deployments: list[dict[str, Any]]) -> dict[Operator, int]:
    """The number of shards of each operator that has Deployments."""
    found: dict[Operator, int] = {}
    for each in deployments:
        metadata = each["metadata"]
        labels, name = metadata.get("labels") or {}, str(metadata["name"])
        told = str(labels.get(SHARDS))
        shards = int(told) if told.isdecimal() else 1
        if shards > 1:
            name = name.removesuffix(f"-{labels.get(SHARD)}")
        operator = (str(metadata["namespace"]), name)
        found[operator] = max(shards, found.get(operator, 1))
    return found


def _by_operator(leases: list[dict[str, Any]], names: set[str]) -> dict[Operator, Leases]:
    found: dict[Operator, Leases] = {}
    for lease in leases:
        namespace, name = str(lease["metadata"]["namespace"]), str(lease["metadata"]["name"])
        layout = (0, 1)
        if name not in names and (parts := LEASE_OF_SHARD.fullmatch(name)) is not None:
            name, layout = parts[1], (int(parts[2]), int(parts[3]))
        if name in names:
            found.setdefault((namespace, name), {})[layout] = lease
    return found


def _of_operator(operator: Operator, leases: Leases, shards: int | None, now: datetime) -> Iterator[Finding]:
    """Each shard, and whoever leads under another number of them; without a Deployment the last renewal tells."""
    namespace, name = operator
    if shards is None:
        shards = max(leases, key=lambda layout: str((leases[layout].get("spec") or {}).get("renewTime") or ""))[1]
    for number in range(shards):
        lease = leases.get((number, shards))
        if lease is None:
            seen = f"no operator has ever held {namespace}/{lease_name(name, number, shards)}"
            yield Finding("Leader", "failed", seen, "Are its pods running? Their logs say what they wait for.")
        else:
            yield _held(lease, now)
    for layout, lease in sorted(leases.items()):
        finding = _held(lease, now)
        if layout[1] != shards and finding.state == "ok":
            yield Finding("Leader", "warning", f"{finding.message}, although there are {shards} shards now",
                          "Is an upgrade under way? New leaders wait until this one has ended.")  # fmt: skip


def _held(lease: dict[str, Any], now: datetime) -> Finding:
    """Whether somebody holds a Lease and renews it."""
    spec, where = lease.get("spec") or {}, f"{lease['metadata']['namespace']}/{lease['metadata']['name']}"
    since = seconds_since(spec.get("renewTime"), now)
    lasts = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
    if not spec.get("holderIdentity"):
        return Finding("Leader", "failed", f"{where} is held by nobody", "Are the operator's pods running?")
    if since is None or since > 2 * lasts:
        seen = f"{spec['holderIdentity']} last renewed {where} {span(since)} ago"
        return Finding("Leader", "failed", seen, "Do the operator's pods run, and do they reach the API server?")
    return Finding("Leader", "ok", f"{spec['holderIdentity']} leads ({where})")
