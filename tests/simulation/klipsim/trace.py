"""A run's history for people to read: one line a write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from klipjudge.history import Request
from klipsim.clocks import EPOCH


def lines(history: list[Request], about: str = "") -> Iterator[str]:
    """The writes in order; only those about a name, where one is given. Lease renewals are left out."""
    for request in history:
        if request.resource == "leases.coordination.k8s.io" or not _concerns(request, about):
            continue
        yield (
            f"{request.received - EPOCH:8.3f} s  {request.revision:5}  {request.agent:23} {request.kind_of:50}"
            f" {request.name[-44:]:44} {_state(request)}"
        )


def _concerns(request: Request, about: str) -> bool:
    metadata = request.answer.get("metadata") or {}
    own = (metadata.get("annotations") or {}).get("analysis.klipstream.io/job", "")
    admitted = (request.answer.get("status") or {}).get("admitted") or ()
    return not about or about in (request.name, own) or any(entry["name"] == about for entry in admitted)


def _state(request: Request) -> str:
    """What matters of an object: its phase, conditions that are true, reservations, what it waits for."""
    status, metadata = request.answer.get("status") or {}, request.answer.get("metadata") or {}
    spec = request.answer.get("spec") or {}
    shown: dict[str, Any] = {
        name: status[name] for name in ("phase", "attempt", "retries", "sequence", "queued", "reason") if name in status
    }
    if "admitted" in status:
        shown["admitted"] = [f"{entry['name']}#{entry['attempt']}" for entry in status["admitted"]]
    if conditions := [each["type"] for each in status.get("conditions") or () if each["status"] == "True"]:
        shown["conditions"] = conditions
    for name in ("suspend", "cancel", "mode"):
        if spec.get(name):
            shown[name] = spec[name]
    if status.get("stop"):
        shown["stop"] = status["stop"]["reason"]
    if "deletionTimestamp" in metadata:
        shown["deleted"] = True
    return " ".join(f"{name}={value}" for name, value in shown.items())
