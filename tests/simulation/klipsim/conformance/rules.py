"""Cases about what the CustomResourceDefinitions fill in and refuse: a case for each rule, allowed and refused."""

from __future__ import annotations

from collections.abc import Sequence

from klipsim.conformance.bodies import ANALYSIS_JOBS, ANALYSIS_QUEUES, URL, analysis_job, analysis_queue
from klipsim.conformance.sites import Case
from klipsim.conformance.transcript import Transcript
from klipsim.objects import Object
from klipstream_kube import Client

SECRET = {"name": "secret", "key": "url"}


def progress(percentage: float, attempt: int = 1) -> Object:
    """Progress as the operator writes it."""
    return {"attempt": attempt, "percentage": percentage, "stage": "Analyzing", "updatedAt": "2026-01-02T03:04:05Z"}


SPEC_CHANGES: dict[str, tuple[Object, Sequence[Object]]] = {
    "videoUrl stays": ({}, ({"videoUrl": URL}, {"videoUrl": "https://example.com/w.mp4"}, {"videoUrl": None})),
    "videoUrl is not replaced by videoUrlFrom": ({}, ({"videoUrl": None, "videoUrlFrom": SECRET},)),
    "videoUrlFrom is not added": ({}, ({"videoUrlFrom": SECRET},)),
    "videoUrlFrom stays": (
        {"videoUrl": None, "videoUrlFrom": SECRET},
        ({"videoUrlFrom": SECRET}, {"videoUrlFrom": SECRET | {"key": "other"}}, {"videoUrlFrom": None}),
    ),
    "videoId stays": ({"videoId": "v"}, ({"videoId": "v"}, {"videoId": "w"}, {"videoId": None})),
    "videoId is not added": ({}, ({"videoId": "v"},)),
    "jobId stays": ({"jobId": "restored-1"}, ({"jobId": "restored-1"}, {"jobId": "restored-2"}, {"jobId": None})),
    "queueName stays": ({"queueName": "q"}, ({"queueName": "q"}, {"queueName": "r"}, {"queueName": None})),
    "type stays": ({"type": "a"}, ({"type": "a"}, {"type": "b"}, {"type": None})),
    "params stay": ({"params": {"a": "b"}}, ({"params": {"a": "b"}}, {"params": {"a": "c"}}, {"params": {"d": "e"}})),
    "sealed stays": ({"sealed": "abc"}, ({"sealed": "abc"}, {"sealed": "abd"}, {"sealed": None})),
    "cancel is not taken back": ({}, ({"cancel": False}, {"cancel": True}, {"cancel": False}, {"cancel": None})),
    "replay only rises": ({}, ({"replay": 2}, {"replay": 2}, {"replay": 1}, {"replay": None}, {"replay": 3})),
    "priority changes": ({}, ({"priority": "URGENT"}, {"priority": "LOW"}, {"priority": None})),
    "several rules are broken at once": (
        {"videoId": "v", "cancel": True, "replay": 1},
        ({"videoId": None, "cancel": False, "replay": 0, "videoUrl": None},),
    ),
    "the rest changes": (
        {},
        (
            {"timeoutSeconds": 10, "maxRetries": 0, "retryDelaysSeconds": [1]},
            {"resources": {"requests": {"cpu": "1"}}, "notBefore": "2026-01-02T03:04:05Z"},
        ),
    ),
}

_STAYS = ("Succeeded", "Cancelled", "Rejected", "Failed")
STATUS_CHANGES: dict[str, Sequence[Object]] = {
    **{f"{phase} stays": ({"phase": phase}, {"phase": "Queued"}, {"phase": phase, "attempt": 1}) for phase in _STAYS},
    **{
        f"{phase} and a replay": ({"phase": phase}, {"phase": "Queued", "observedReplay": 1}, {"observedReplay": 1})
        for phase in _STAYS
    },
    "Failed becomes another end": ({"phase": "Failed"}, {"phase": "Succeeded"}, {"phase": "Cancelled"}),
    "phases before the end": tuple(
        {"phase": phase} for phase in ("Starting", "Running", "BackingOff", "Queued", "Running", "Failed")
    ),
    "progress does not fall": (
        {"phase": "Running", "progress": progress(50)},
        {"progress": progress(40)},
        {"progress": {"percentage": 49.9}},
        {"progress": None},
        {"progress": progress(50)},
        {"progress": progress(60)},
    ),
    "progress belongs to an attempt": (
        {"phase": "Running", "attempt": 2, "progress": progress(50, 2)},
        {"progress": progress(80, 1)},
        {"progress": progress(0, 3)},
        {"progress": progress(50, 2)},
    ),
    "progress is frozen at the end": (
        {"phase": "Running", "progress": progress(50)},
        {"phase": "Succeeded", "progress": progress(100)},
        {"progress": progress(100, 2)},
        {"progress": {"stage": "Other"}},
        {"progress": None},
        {"attempt": 1},
    ),
    "progress may go on when a failure is replayed": (
        {"phase": "Failed", "progress": progress(50)},
        {"phase": "Queued", "observedReplay": 1, "progress": progress(40)},
        {"phase": "Queued", "observedReplay": 1},
    ),
    "attempts do not fall": ({"attempt": 2}, {"attempt": 1}, {"attempt": None}, {"attempt": 3}),
    "replays do not fall": ({"observedReplay": 2}, {"observedReplay": 1}, {"observedReplay": None}),
    "a sequence stays": (
        {"sequence": 7, "queueName": "q"},
        {"sequence": 8},
        {"sequence": None},
        {"sequence": 7},
        {"phase": "Failed"},
        {"phase": "Queued", "observedReplay": 1, "sequence": 9},
    ),
    "a replay does not take the sequence away": (
        {"sequence": 7, "phase": "Failed"},
        {"phase": "Queued", "observedReplay": 1, "sequence": None},
    ),
    "several rules are broken at once": (
        {"phase": "Succeeded", "attempt": 2, "sequence": 7, "observedReplay": 1, "progress": progress(100, 2)},
        {"phase": "Queued", "attempt": 1, "sequence": 8, "observedReplay": 0, "progress": progress(0)},
    ),
    "a status is not emptied": (
        {"phase": "Running", "attempt": 1, "sequence": 7},
        {"phase": None, "attempt": None, "sequence": None},
    ),
}


def _spec_case(spec: Object, changes: Sequence[Object]) -> Case:
    async def case(client: Client, namespace: str) -> list[str]:
        seen = Transcript(namespace)
        await seen.ask("created", client.create(ANALYSIS_JOBS, analysis_job(spec=spec), namespace))
        for change in changes:
            await seen.ask(f"{change}", client.patch(ANALYSIS_JOBS, "first", namespace, {"spec": change}))
        return seen.lines

    return case


def _status_case(changes: Sequence[Object]) -> Case:
    async def case(client: Client, namespace: str) -> list[str]:
        seen = Transcript(namespace)
        await client.create(ANALYSIS_JOBS, analysis_job(), namespace)
        for change in changes:
            await seen.ask(f"{change}", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": change}))
        await seen.ask("all", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": None}))
        return seen.lines

    return case


async def defaults_are_filled_in_wherever_they_are_missing(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await seen.ask("empty", client.create(ANALYSIS_JOBS, analysis_job(), namespace))
    given = {"priority": "LOW", "cancel": True, "replay": 1, "callback": {"url": "https://example.com/hook"}}
    await seen.ask("given", client.create(ANALYSIS_JOBS, analysis_job("given", given), namespace))
    for status in (
        {"progress": progress(5)},
        {"attempts": [{"attempt": 1, "jobName": "a"}, {"attempt": 2, "jobName": "b", "reason": "x"}]},
        {"conditions": [{"type": "Finished", "status": "True", "reason": "a", "message": "b",
                         "lastTransitionTime": "2026-01-02T03:04:05Z"}]},
        {"attempts": None, "conditions": None, "retries": None},
    ):  # fmt: skip
        await seen.ask("status", client.patch_status(ANALYSIS_JOBS, "first", namespace, {"status": status}))
    return seen.lines


async def defaults_of_queues_are_filled_in(client: Client, namespace: str) -> list[str]:
    seen = Transcript(namespace)
    await seen.ask("empty", client.create(ANALYSIS_QUEUES, analysis_queue(), namespace))
    given = {
        "capacity": {"probeSeconds": 3}, "nodeLost": {"seconds": 10}, "retention": {}, "aging": {"everySeconds": 60},
        "stall": {"noProgressSeconds": 60}, "reservedSlots": {"URGENT": 1}, "results": {"url": "file:///results"},
    }  # fmt: skip
    await seen.ask("given", client.create(ANALYSIS_QUEUES, analysis_queue("given", given), namespace))
    for spec in ({"nodeLost": None}, {"capacity": {"probeSeconds": None}}, {"aging": {}, "retryDelaysSeconds": [1]}):
        await seen.ask("spec", client.patch(ANALYSIS_QUEUES, "given", namespace, {"spec": spec}))
    admitted = [{"uid": "00000000-0000-4000-8000-000000000001", "name": "first", "attempt": 1}]
    statuses: tuple[Object, ...] = (
        {"initialized": True},
        {"admitted": admitted, "active": 1},
        {"totals": {"started": 3}},
        {"admitted": [], "totals": None},
    )
    for status in statuses:
        await seen.ask("status", client.patch_status(ANALYSIS_QUEUES, "queue", namespace, {"status": status}))
    return seen.lines


CASES: dict[str, Case] = {
    **{f"spec: {name}": _spec_case(spec, changes) for name, (spec, changes) in SPEC_CHANGES.items()},
    **{f"status: {name}": _status_case(changes) for name, changes in STATUS_CHANGES.items()},
    "defaults": defaults_are_filled_in_wherever_they_are_missing,
    "defaults of queues": defaults_of_queues_are_filled_in,
}
