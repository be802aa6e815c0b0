"""Whether the rows in Convex are what the cluster holds, one by one."""

from klipconvex.server import ConvexTestServer
from klipstream_api import names
from klipstream_convex.rows import digest
from klipstream_convex.shadow import KINDS, Kind, update_of
from klipstream_kube import Client, Resource

RESOURCES: dict[Kind, Resource] = {
    "job": Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob"),
    "queue": Resource(names.GROUP, names.VERSION, "analysisqueues", "AnalysisQueue"),
}


async def differences(convex: ConvexTestServer, client: Client, namespace: str, cluster: str) -> tuple[int, list[str]]:
    """How many rows were compared, and what differs, in words."""
    compared, found = 0, []
    for kind in KINDS:
        shown = await convex.rows(cluster, kind)
        items, _ = await client.list(RESOURCES[kind], namespace)
        held = {item["metadata"]["uid"]: update_of(cluster, kind, item) for item in items}
        compared += len(shown.keys() | held.keys())
        found += [f"{kind} {uid} is in one of them only" for uid in shown.keys() ^ held.keys()]
        for uid in shown.keys() & held.keys():
            progress = shown[uid].get("progress")
            if progress is not None:
                progress = {name: value for name, value in progress.items() if name not in ("cluster", "uid")}
            if digest(shown[uid]["row"], progress) != digest(held[uid].row, held[uid].progress):
                found.append(f"{kind} {uid}: {shown[uid]['row']} is not {held[uid].row}")
            if int(shown[uid]["version"]) != held[uid].version:
                found.append(f"{kind} {uid} is shown at {shown[uid]['version']}, not {held[uid].version}")
    return compared, found
