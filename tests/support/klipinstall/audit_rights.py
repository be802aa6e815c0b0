"""Rights against requests: what was refused, and what was granted but never used (pure)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from klipchart.rights import NAMESPACE, RELEASE, Right
from klipjudge.audit import whole

Use = tuple[str, str, str]
"""Account, resource with its subresource, verb."""
ACCOUNTS = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-"


def events_of(log: Path) -> Iterable[dict[str, Any]]:
    """Answered requests of an audit log; a half-written last line is left out."""
    with log.open("rb") as lines:
        for event in map(json.loads, whole(lines)):
            if event.get("stage") == "ResponseComplete":
                yield event


def uses_of(events: Iterable[dict[str, Any]]) -> tuple[set[Use], dict[str, int]]:
    """What the chart's accounts did, and in words what was refused to them, with how often."""
    used: set[Use] = set()
    refused: dict[str, int] = {}
    for event in events:
        user = event["user"]["username"]
        about = event.get("objectRef")
        if not user.startswith(ACCOUNTS) or about is None:
            continue
        resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
        account = user.removeprefix(ACCOUNTS)
        if event.get("responseStatus", {}).get("code") == 403:
            said = f"{account}: {event['verb']} {resource} in {about.get('namespace', 'the cluster')}"
            refused[said] = refused.get(said, 0) + 1
        else:
            used.add((account, resource, event["verb"]))
    return used, refused


def never_used(rights: Iterable[Right], used: set[Use]) -> set[Use]:
    """Rights that nobody made use of."""
    return {(each.account, each.resource, each.verb) for each in rights} - used
