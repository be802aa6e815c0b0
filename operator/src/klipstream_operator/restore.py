"""Makes queues and jobs again from a backup: `python -m klipstream_operator.restore backup.json`.

The backup is what `kubectl get aq,aj --all-namespaces -o json` printed. Finished jobs are finished again and are not
run; unfinished ones wait at their places and go on from their last checkpoint, in an attempt with the next number. Job
ids stay as they were, although uids do not. Doing it twice makes nothing twice. Nothing must lead meanwhile, so that no
job is started before its status is back: see docs/recovery.md.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from klipstream_api import names
from klipstream_api.analysisqueue import OPERATION_ANNOTATIONS
from klipstream_api.phases import FINISHED_PHASES
from klipstream_kube import AlreadyExists, ApiError, Client, ConfigurationError, Invalid, Unreachable, load_connection
from klipstream_operator.status_writer import ANALYSIS_JOBS, ANALYSIS_QUEUES

FINAL = {phase.value for phase in FINISHED_PHASES}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_GOES_ON = (
    "queuedAt", "attempt", "retries", "infrastructureLosses", "attempts", "progress", "observedReplay", "startedAt",
)  # fmt: skip
"""What an unfinished job keeps. Reservation, Job and stop are of a cluster that is gone."""
_TOTALS = ("totals", "runTimes")
Object = dict[str, Any]


def manifest(obj: Object) -> Object:
    """An object as it is to be created: without what only the old cluster knew (pure).

    Requests to queues, such as clear, are annotations that were acted on; they are not asked again. Those of jobs stay:
    the gateway knows a repeated submission, and who made it, by them.
    """
    dropped = {LAST_APPLIED, *(OPERATION_ANNOTATIONS.values() if obj["kind"] == "AnalysisQueue" else ())}
    metadata = obj["metadata"]
    annotations = {
        name: value for name, value in (metadata.get("annotations") or {}).items()
        if name not in dropped
    }  # fmt: skip
    kept = {"name": metadata["name"], "namespace": metadata["namespace"]}
    kept |= {"labels": metadata["labels"]} if metadata.get("labels") else {}
    kept |= {"annotations": annotations} if annotations else {}
    spec = dict(obj["spec"])
    if obj["kind"] == "AnalysisJob":
        spec["jobId"] = job_id(obj)
    return {"apiVersion": names.API_VERSION, "kind": obj["kind"], "metadata": kept, "spec": spec}


def job_id(obj: Object) -> str:
    """The id that the outside world knows a job by."""
    return str(obj["spec"].get("jobId") or obj["metadata"]["uid"])


def queue_status(obj: Object) -> Object:
    """What a queue keeps of its status: totals. Whatever runs is found by the operator (pure)."""
    return {name: obj["status"][name] for name in _TOTALS if name in obj.get("status", {})}


def job_status(obj: Object, created: Object) -> Object:
    """What a job that was made again keeps of its status (pure).

    A finished one keeps all. An unfinished one that a queue had taken is taken already, so that a full queue does not
    refuse it; its place is the version of its creation, as everybody's is (rule 7).
    """
    status = obj.get("status", {})
    if status.get("phase") in FINAL:
        return dict(status)
    kept = {name: status[name] for name in _GOES_ON if name in status}
    if kept.get("attempts"):
        kept["attempts"] = [*kept["attempts"][:-1], _lost(kept["attempts"][-1], status)]
    if "queueName" not in status:
        return kept
    version = int(created["metadata"]["resourceVersion"])
    return {"phase": "Queued", "queueName": status["queueName"], "sequence": version} | kept


def _lost(attempt: Object, status: Object) -> Object:
    """The last attempt, ended if it was under way: when it was last heard of. It burns no retry."""
    if "finishedAt" in attempt:
        return attempt
    heard_of = status.get("progress", {}).get("updatedAt") or attempt.get("startedAt")
    return attempt | {
        "finishedAt": heard_of, "failureClass": "Infrastructure", "reason": "ClusterLost",
        "message": "The cluster that it ran in was restored from a backup.",
    }  # fmt: skip


def in_order(items: list[Object]) -> list[Object]:
    """Queues first; then jobs in the order in which they had been accepted (pure)."""

    def order(obj: Object) -> tuple[bool, float, str]:
        is_job = obj["kind"] == "AnalysisJob"
        sequence = obj.get("status", {}).get("sequence") if is_job else 0
        return (is_job, float("inf") if sequence is None else sequence, obj["metadata"]["creationTimestamp"])

    return sorted((each for each in items if each["kind"] in ("AnalysisQueue", "AnalysisJob")), key=order)


async def restore(client: Client, items: list[Object]) -> Counter[str]:
    """Make what is missing; how many of each were made, by what became of them. Raises what the API server refuses.

    A draining queue is paused until its jobs are in it: the chart's admission policy lets none into a draining one.
    """
    done: Counter[str] = Counter()
    objects = in_order(items)
    draining = [each for each in objects if each["kind"] == "AnalysisQueue" and each["spec"].get("mode") == "Draining"]
    for obj in objects:
        resource = ANALYSIS_JOBS if obj["kind"] == "AnalysisJob" else ANALYSIS_QUEUES
        name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
        again = False
        try:
            created = await client.create(resource, _paused(manifest(obj)), namespace)
        except AlreadyExists:
            created, again = await client.get(resource, name, namespace), True
        if resource is ANALYSIS_QUEUES:
            if created["spec"].get("mode") == "Draining":
                await client.patch(resource, name, namespace, {"spec": {"mode": "Paused"}})
            if not again and (status := queue_status(obj)):
                await client.patch_status(resource, name, namespace, {"status": status})
            done["queues there already" if again else "queues"] += 1
            continue
        if again and not _half_done(obj, created):
            done["jobs there already"] += 1
            continue
        await _write_status(client, obj, created)
        done["finished jobs" if obj.get("status", {}).get("phase") in FINAL else "unfinished jobs"] += 1
    for obj in draining:
        metadata = obj["metadata"]
        await client.patch(ANALYSIS_QUEUES, metadata["name"], metadata["namespace"], {"spec": {"mode": "Draining"}})
    return done


def _paused(manifest: Object) -> Object:
    """A draining queue as a paused one, anything else as it is (pure)."""
    if manifest["spec"].get("mode") != "Draining":
        return manifest
    return manifest | {"spec": manifest["spec"] | {"mode": "Paused"}}


def _half_done(obj: Object, live: Object) -> bool:
    """Whether an earlier restore ended between the job and its status. Another job of that name is left alone."""
    untouched = live.get("status", {}).get("attempt", 0) == 0 and live.get("status", {}).get("phase") not in FINAL
    return bool(live["spec"].get("jobId") == job_id(obj) and untouched and "sequence" not in live.get("status", {}))


async def _write_status(client: Client, obj: Object, created: Object) -> None:
    name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
    status = job_status(obj, created)
    guard = {"uid": created["metadata"]["uid"]}
    try:
        await client.patch_status(ANALYSIS_JOBS, name, namespace, {"metadata": guard, "status": status})
    except Invalid:
        # An operator that works meanwhile gave it a place, which stays.
        live = await client.get(ANALYSIS_JOBS, name, namespace)
        status["sequence"] = live["status"]["sequence"]
        await client.patch_status(ANALYSIS_JOBS, name, namespace, {"metadata": guard, "status": status})


async def _run(items: list[Object]) -> str:
    async with Client(load_connection(), user_agent="klipstream-restore") as client:
        done = await restore(client, items)
    return ", ".join(f"{count} {what}" for what, count in sorted(done.items())) or "nothing in the backup"


def main() -> int:
    """Restore; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m klipstream_operator.restore", description=__doc__)
    parser.add_argument("backup", type=Path)
    try:
        items = json.loads(parser.parse_args().backup.read_text())["items"]
        print(f"restored: {asyncio.run(_run(items))}")
    except (ApiError, Unreachable, ConfigurationError, OSError, KeyError, json.JSONDecodeError) as error:
        print(f"not restored to the end, do it again: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
