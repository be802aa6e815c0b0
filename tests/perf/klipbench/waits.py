"""How long each step takes that a job or a slot waits for, from the audit log."""

from collections.abc import Iterable, Mapping
from typing import Any

from klipbench.figures import Spread, spread
from klipjudge.history import Request, in_store_order
from klipjudge.vocabulary import FINISHED, JOBS, QUEUES, attempt_of

REFILL_STEPS = (
    "pod's end answered -> finish arrives",
    "finish: at the API server",
    "finish answered -> its slot's release arrives",
    "reservation: at the API server",
    "reservation answered -> Job arrives",
)


def admission_seconds(requests: Iterable[Request]) -> dict[str, Spread]:
    """From the submission of an AnalysisJob to the create of its first Job, by the class that its name begins with."""
    submitted: dict[str, tuple[str, float]] = {}
    waited: dict[str, list[float]] = {}
    for request in in_store_order(list(requests)):
        metadata = request.answer.get("metadata") or {}
        if request.resource == JOBS and request.verb == "create":
            submitted[metadata["uid"]] = (request.name.rpartition("-")[0], request.received)
        elif request.resource == "jobs.batch" and request.verb == "create":
            for owner in metadata.get("ownerReferences") or ():
                if (found := submitted.pop(owner["uid"], None)) is not None:
                    waited.setdefault(found[0], []).append(request.received - found[1])
    return {name: spread(values) for name, values in sorted(waited.items())}


def refill_steps(requests: Iterable[Request]) -> dict[str, Spread]:
    """Where the time of a slot's refill goes, step by step, from a pod's end to the Job that takes its place.

    The times of the steps of one slot follow each other; the p50 of all together is not the sum of theirs.
    """
    ended: dict[str, float] = {}
    settled: dict[str, float] = {}
    admitted: dict[str, set[str]] = {}
    reserved: dict[str, float] = {}
    times: dict[str, list[float]] = {step: [] for step in REFILL_STEPS}
    seen, settling, waiting, writing, creating = (times[step] for step in REFILL_STEPS)
    for request in in_store_order(list(requests)):
        metadata, status = request.answer.get("metadata") or {}, request.answer.get("status") or {}
        if request.resource == "pods" and status.get("phase") in ("Succeeded", "Failed"):
            ended.setdefault(_owner(metadata), request.completed)
        elif request.resource == JOBS and status.get("phase") in FINISHED and metadata["uid"] in ended:
            if metadata["uid"] not in settled:
                seen.append(request.received - ended[metadata["uid"]])
                settling.append(request.completed - request.received)
                settled[metadata["uid"]] = request.completed
        elif request.resource == QUEUES and status:
            now = {entry["uid"] for entry in status.get("admitted") or ()}
            before = admitted.get(metadata["uid"], set())
            waiting.extend(request.received - settled[uid] for uid in before - now if uid in settled)
            if now != before:
                writing.append(request.completed - request.received)
            reserved |= dict.fromkeys(now - before, request.completed)
            admitted[metadata["uid"]] = now
        elif request.resource == "jobs.batch" and request.verb == "create":
            for owner in metadata.get("ownerReferences") or ():
                if (at := reserved.pop(owner["uid"], None)) is not None:
                    creating.append(request.received - at)
    return {step: spread(values) for step, values in times.items()}


def status_age_seconds(requests: Iterable[Request]) -> Spread:
    """From a pod's end to the moment at which its AnalysisJob's status says so."""
    ended: dict[str, float] = {}
    ages = []
    for request in in_store_order(list(requests)):
        metadata, status = request.answer.get("metadata") or {}, request.answer.get("status") or {}
        if request.resource == "pods" and status.get("phase") in ("Succeeded", "Failed"):
            ended.setdefault(_owner(metadata), request.received)
        elif request.resource == JOBS and status.get("phase") in FINISHED and metadata["uid"] in ended:
            ages.append(request.completed - ended.pop(metadata["uid"]))
    return spread(ages)


def _owner(metadata: Mapping[str, Any]) -> str:
    """Uid of the AnalysisJob of a pod; empty where it is not of ours."""
    attempt = attempt_of(metadata)
    return attempt[0] if attempt is not None else ""
