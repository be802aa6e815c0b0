"""Kubernetes' Job controller and garbage collectors, as recordings of the real ones show them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from klipsim.apiserver import ANALYSIS_JOBS, JOBS, PODS, ApiServer, Change, Key, Kind
from klipsim.loop import NOBODY, SimulatedLoop
from klipsim.objects import Object

TRACKING = "batch.kubernetes.io/job-tracking"
AGENT = "kube-controller-manager"
ENDED = ("Succeeded", "Failed")


def condition(obj: Object, type_: str) -> Object | None:
    """A condition of an object's status, if it is true."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == type_ and each["status"] == "True"), None)


def with_condition(
    conditions: list[Object], type_: str, status: str, reason: str, stamp: str, **more: Any
) -> list[Object]:
    """Conditions with one set."""
    kept = [each for each in conditions if each["type"] != type_]
    return [*kept, {"type": type_, "status": status, "reason": reason, "lastTransitionTime": stamp, **more}]


def owner_uid(obj: Object) -> str:
    """Uid of the object's controller."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


class _Controller:
    """Looks at what changed, a little later, once however often it changed."""

    KINDS: tuple[Kind, ...]

    def __init__(self, loop: SimulatedLoop, server: ApiServer, rng: random.Random) -> None:
        self.loop, self.server, self.rng = loop, server, rng
        self._due: set[tuple[str, Key]] = set()
        server.listen(self.changed, *self.KINDS)

    def changed(self, kind: Kind, change: Change) -> None:
        raise NotImplementedError

    def soon(self, key: Key, act: Callable[[Key], None], low: float, high: float) -> None:
        if (act.__name__, key) not in self._due:
            self._due.add((act.__name__, key))
            self.loop.call_later(self.rng.uniform(low, high), self._act, key, act, context=NOBODY)

    def _act(self, key: Key, act: Callable[[Key], None]) -> None:
        self._due.discard((act.__name__, key))
        act(key)


class JobController(_Controller):
    """One pod for each Job with backoffLimit 0, one completion and podReplacementPolicy Failed."""

    KINDS = (JOBS, PODS)

    def __init__(self, loop: SimulatedLoop, server: ApiServer, rng: random.Random) -> None:
        super().__init__(loop, server, rng)
        self._pods: dict[Key, dict[Key, Object]] = {}
        """By their Job, in the order of their creation."""

    def changed(self, kind: Kind, change: Change) -> None:
        metadata = change.obj["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if kind is JOBS:
            self.soon(key, self.sync, 0.005, 0.2)
        elif job := (metadata.get("labels") or {}).get("batch.kubernetes.io/job-name"):
            pods = self._pods.setdefault((key[0], job), {})
            if change.type == "DELETED":
                pods.pop(key, None)
            else:
                pods[key] = change.obj
            self.soon((key[0], job), self.sync, 0.05, 1.0)

    def sync(self, key: Key) -> None:
        job = self.server.find(JOBS, *key)
        pods = list(self._pods.get(key, {}).values())
        mine = [pod for pod in pods if job is not None and owner_uid(pod) == job["metadata"]["uid"]]
        for pod in pods:
            if pod not in mine:
                self._untrack(pod)  # an orphan
        if job is not None:
            self._sync(job, mine)

    def _sync(self, job: Object, pods: list[Object]) -> None:
        status, stamp = job["status"], self.server.stamp()
        if condition(job, "Complete") or condition(job, "Failed"):
            for pod in pods:
                self._untrack(pod)
            return
        tracked = [pod for pod in pods if TRACKING in (pod["metadata"].get("finalizers") or ())]
        ended = next((pod for pod in tracked if pod["status"]["phase"] in ENDED), None)
        conditions = status.get("conditions") or []
        if ended is not None or condition(job, "SuccessCriteriaMet") or condition(job, "FailureTarget"):
            succeeded = condition(job, "SuccessCriteriaMet") or (
                ended is not None and ended["status"]["phase"] == "Succeeded"
            )
            first, last, reason = (
                ("SuccessCriteriaMet", "Complete", "CompletionsReached")
                if succeeded
                else ("FailureTarget", "Failed", "BackoffLimitExceeded")
            )
            if not condition(job, first):
                self._write(job, with_condition(conditions, first, "True", reason, stamp), 0, 0)
                return
            for pod in pods:
                self._untrack(pod)
            self._write(job, with_condition(conditions, last, "True", reason, stamp), 0, 0)
            return
        live = [pod for pod in pods if pod["status"]["phase"] not in ENDED]
        if job["spec"]["suspend"]:
            for pod in live:
                self._untrack(pod)
                if "deletionTimestamp" not in pod["metadata"]:
                    self._delete(PODS, pod)
            if not condition(job, "Suspended"):
                conditions = with_condition(conditions, "Suspended", "True", "JobSuspended", stamp)
            self._write(job, conditions, 0, len(live))
            return
        if condition(job, "Suspended"):
            conditions = with_condition(conditions, "Suspended", "False", "JobResumed", stamp)
        terminating = sum(1 for pod in live if "deletionTimestamp" in pod["metadata"])
        active = len(live) - terminating
        if not live:
            self._make_pod(job)
            active = 1
        self._write(job, conditions, active, terminating)

    def _make_pod(self, job: Object) -> None:
        template, metadata = job["spec"]["template"], job["metadata"]
        own = {"batch.kubernetes.io/controller-uid": metadata["uid"], "batch.kubernetes.io/job-name": metadata["name"]}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"],
                 "controller": True, "blockOwnerDeletion": True}  # fmt: skip
        body = {
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "labels": (template["metadata"].get("labels") or {}) | own,
                "annotations": template["metadata"].get("annotations") or {},
                "finalizers": [TRACKING],
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        self.server.create(PODS, metadata["namespace"], body, AGENT, generate=True)

    def _write(self, job: Object, conditions: list[Object], active: int, terminating: int) -> None:
        status: Object = {
            "active": active or None, "terminating": terminating, "conditions": conditions,
            "uncountedTerminatedPods": {},
        }  # fmt: skip
        self.server.change(JOBS, job, {"status": status}, AGENT, "status")

    def _untrack(self, pod: Object) -> None:
        finalizers = pod["metadata"].get("finalizers") or []
        if TRACKING in finalizers:
            kept = [each for each in finalizers if each != TRACKING]
            self.server.change(PODS, pod, {"metadata": {"finalizers": kept or None}}, AGENT)

    def _delete(self, kind: Kind, obj: Object) -> None:
        metadata = obj["metadata"]
        live = self.server.find(kind, metadata["namespace"], metadata["name"])
        if live is not None and live["metadata"]["uid"] == metadata["uid"]:
            self.server.delete(kind, metadata["namespace"], metadata["name"], AGENT)


class Collectors(_Controller):
    """Deletes what is owned by nobody any more, ends pods that were deleted before they had a node, and deletes Jobs
    whose ttlSecondsAfterFinished is over."""

    KINDS = (ANALYSIS_JOBS, JOBS, PODS)
    OWNERS = ((ANALYSIS_JOBS, JOBS), (JOBS, PODS))

    def changed(self, kind: Kind, change: Change) -> None:
        key = (change.obj["metadata"]["namespace"], change.obj["metadata"]["name"])
        if (change.type == "DELETED" and kind in (ANALYSIS_JOBS, JOBS)) or (
            change.type == "ADDED" and kind in (JOBS, PODS)
        ):
            self.soon(key, self.collect, 0.05, 1.5)
        elif kind is PODS and "deletionTimestamp" in change.obj["metadata"]:
            self.soon(key, self.end_unbound, 0.2, 20.0)
        elif kind is JOBS and (condition(change.obj, "Complete") or condition(change.obj, "Failed")):
            seconds = change.obj["spec"].get("ttlSecondsAfterFinished")
            if seconds is not None:
                self.soon(key, self.expire, seconds, seconds + 1.0)

    def expire(self, key: Key) -> None:
        """A finished Job goes, and its pods after it."""
        if self.server.find(JOBS, *key) is not None:
            self.server.delete(JOBS, *key, AGENT)

    def collect(self, key: Key) -> None:
        """What is left of a namespace's objects whose owner is gone."""
        for owner_kind, kind in self.OWNERS:
            owners = {obj["metadata"]["uid"] for obj in self.server.all(owner_kind)}
            for obj in self.server.all(kind):
                metadata = obj["metadata"]
                if "deletionTimestamp" not in metadata and (owner := owner_uid(obj)) and owner not in owners:
                    self.server.delete(kind, metadata["namespace"], metadata["name"], AGENT)

    def end_unbound(self, key: Key) -> None:
        """As the pod garbage collector: Failed, so that the Job controller lets it go."""
        pod = self.server.find(PODS, *key)
        if pod is not None and not pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED:
            self.server.change(PODS, pod, {"status": {"phase": "Failed"}}, AGENT, "status")
