"""What the API server's refusals mean, in words that say what to do (pure)."""

from __future__ import annotations

import re
from typing import Any

from klipstream_cli.errors import ApiProblem, Conflict, Exit, Forbidden, Gone, NotFound
from klipstream_cli.resources import GROUP, Resource

About = tuple[Resource, str | None, str | None]
"""Resource, namespace (None: all) and name (None: the collection) that a request was about."""


def refusal(code: int, status: dict[str, Any], about: About | None) -> ApiProblem:
    """The problem for a Status of the API server, in words that say what to do."""
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "refused")
    resource, namespace, name = about or (None, None, None)
    where = f"in the namespace {namespace}" if namespace else "in all namespaces"
    if code == 401:
        return Forbidden(code, reason, "the API server does not know who you are (401)", Exit.FORBIDDEN,
                         "Your credentials are missing or have expired: log in to the cluster again.")  # fmt: skip
    if code == 403 and (missing := re.search(r'User "([^"]*)" cannot (\w+) resource "([^"]*)"', message)):
        user, asked, plural = missing.groups()
        group = resource.group if resource is not None else GROUP
        full = f"{plural}.{group}" if group and "/" not in plural else plural
        if group and "/" in plural:
            full = plural.replace("/", f".{group}/", 1)
        narrower = "" if namespace or resource is None else " With rights in one namespace only, name it by -n."
        return Forbidden(code, reason, f"{user} lacks the right to {asked} {full} {where}", Exit.FORBIDDEN,
                         f"Ask for it: kubectl create role NAME --verb={asked} --resource={full}, and bind it."
                         + narrower)  # fmt: skip
    if code == 404:
        if resource is not None and not (status.get("details") or {}).get("name"):
            hint = "Install the chart, or kubectl apply -f crds/; `kubectl analysis doctor` checks everything."
            return NotFound(code, reason, f"the cluster has no {resource.qualified}", Exit.NOT_FOUND, hint)
        what = f"there is no {resource.singular} {name} {where}" if resource is not None and name else message
        return NotFound(code, reason, what, Exit.NOT_FOUND)
    kind = Conflict if code == 409 and reason != "AlreadyExists" else Gone if code == 410 else ApiProblem
    exit_code = Exit.UNREACHABLE if code >= 500 else Exit.REFUSED
    return kind(code, reason, message, exit_code)
