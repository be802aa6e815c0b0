"""After a disaster: unfinished AnalysisJobs are made anew from what Convex shows, with their old ids.

The cluster is the truth while it lives; this is for when it does not. Finished jobs are not run again. Doing it twice
makes nothing twice.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from klipstream_convex.deployment import Deployment
from klipstream_kube import AlreadyExists, ApiError, Client, Resource

NOT_AGAIN = ("replay",)
"""A replay counts from the status, which is new."""


@dataclass(slots=True)
class Restored:
    """What came of it: names with their namespaces."""

    made: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """Existed already, by the id."""
    failed: dict[str, str] = field(default_factory=dict)
    """Could not be made, and why."""


async def restore(
    deployment: Deployment, client: Client, jobs: Resource, cluster: str, *, dry_run: bool = False
) -> Restored:
    """Create what is missing, in the order in which it had been accepted. A dry run is judged by the API server and
    stores nothing. Raises Away, FunctionFailed and Unreachable."""
    shown = sorted([each async for each in _unfinished(deployment, cluster)], key=_order)
    existing, _ = await client.list(jobs)
    known = {each["spec"].get("jobId") or each["metadata"]["uid"] for each in existing}
    found = Restored()
    for each in shown:
        name = f"{each['namespace']}/{each['name']}"
        if each["jobId"] in known:
            found.there.append(name)
            continue
        try:
            await client.create(jobs, manifest_of(each), each["namespace"], dry_run=dry_run)
        except AlreadyExists:
            found.failed[name] = "another AnalysisJob has this name: rename or delete that one, and restore again"
        except ApiError as error:
            found.failed[name] = error.message
        else:
            found.made.append(name)
    return found


def manifest_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The AnalysisJob that a row stands for, as it is to be created (pure)."""
    kept = json.loads(shown["manifest"])
    spec = {name: value for name, value in kept["spec"].items() if name not in NOT_AGAIN}
    if shown["queue"] is not None:
        spec["queueName"] = shown["queue"]
    return {
        "apiVersion": "analysis.klipstream.io/v1alpha1",
        "kind": "AnalysisJob",
        "metadata": {
            "name": shown["name"],
            "namespace": shown["namespace"],
            "labels": kept["labels"],
            "annotations": kept["annotations"],
        },
        "spec": spec | {"jobId": shown["jobId"]},
    }


def _order(shown: Mapping[str, Any]) -> tuple[float, str]:
    """Accepted ones in their order, then those that were not accepted yet."""
    return (shown["sequence"] if shown["sequence"] is not None else float("inf"), shown["uid"])


async def _unfinished(deployment: Deployment, cluster: str) -> AsyncIterator[dict[str, Any]]:
    after: str | None = ""
    while after is not None:
        page = await deployment.query("sync:unfinished", cluster=cluster, after=after)
        for each in page["jobs"]:
            yield each
        after = page["next"]
