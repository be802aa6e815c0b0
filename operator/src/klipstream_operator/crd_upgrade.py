"""Brings the CustomResourceDefinitions up to date: `python -m klipstream_operator.crd_upgrade`.

helm makes what is in a chart's crds/ once and leaves it alone afterwards, so the chart runs this before an upgrade, and
before an installation, since an earlier one may have left its definitions. A definition with fields that ours lacks
comes from a newer release: it is left as it is, since the API server would drop those fields of every object that is
written. So definitions go forward only, and a rollback of the operator keeps them.
"""

import asyncio
import logging
import sys
from typing import Any, Literal

from klipstream_api.crds import analysis_job_crd, analysis_queue_crd
from klipstream_kube import ApiError, Client, ConfigurationError, NotFound, Resource, Unreachable, load_connection

log = logging.getLogger("klipstream_operator.crd_upgrade")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
TRIES = 60
TRY_AGAIN_SECONDS = 2.0
Outcome = Literal["upgraded", "unchanged", "newer"]


def fields_lost(live: dict[str, Any], ours: dict[str, Any], path: str = "") -> list[str]:
    """Paths of the properties of a live schema that ours does not know, such as ".spec.extra"."""
    lost = []
    known = ours.get("properties", {})
    for name, schema in live.get("properties", {}).items():
        below = f"{path}.{name}"
        lost += fields_lost(schema, known[name], below) if name in known else [below]
    for inner in ("items", "additionalProperties"):
        if isinstance(live.get(inner), dict):
            counterpart = ours.get(inner)
            lost += fields_lost(live[inner], counterpart if isinstance(counterpart, dict) else {}, f"{path}[]")
    return lost


async def upgrade(client: Client, ours: dict[str, Any]) -> Outcome:
    """Bring one definition up to date. Raises NotFound where there is none, and what the API server answers else."""
    name = ours["metadata"]["name"]
    live = await client.get(CRDS, name)
    (version,) = ours["spec"]["versions"]
    for served in live["spec"]["versions"]:
        schema = served["schema"]["openAPIV3Schema"]
        ahead = served["name"] != version["name"]
        lost = [served["name"]] if ahead else fields_lost(schema, version["schema"]["openAPIV3Schema"])
        if lost:
            log.warning("%s is newer than this release, and stays: it has %s", name, ", ".join(lost))
            return "newer"
    guarded = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "spec": ours["spec"]}
    after = await client.patch(CRDS, name, None, guarded)
    # Not the generation: the API server raises it for a default that is written in another way, too.
    return "unchanged" if after["spec"] == live["spec"] else "upgraded"


async def _upgrade_all() -> None:
    async with Client(load_connection(), user_agent="klipstream-crds") as client:
        for ours in (analysis_job_crd(), analysis_queue_crd()):
            log.info("%s: %s", ours["metadata"]["name"], await _persistently(client, ours))


async def _persistently(client: Client, ours: dict[str, Any]) -> Outcome:
    """An API server that is away for a moment does not fail the upgrade; a conflict is decided again."""
    for _ in range(TRIES):
        try:
            return await upgrade(client, ours)
        except (Unreachable, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in (409, 429) and error.status < 500:
                raise
            log.warning("%s. Trying again in %g s.", error, TRY_AGAIN_SECONDS)
            await asyncio.sleep(TRY_AGAIN_SECONDS)
    return await upgrade(client, ours)


def main() -> int:
    """Bring both up to date; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(_upgrade_all())
    except NotFound as error:
        log.error("%s: apply the manifests in crds/ first, or install without --skip-crds", error.message)
        return 1
    except (ApiError, Unreachable, ConfigurationError) as error:
        log.error("The custom resources were not brought up to date: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
