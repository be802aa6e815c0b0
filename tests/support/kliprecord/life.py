"""One recorded attempt: its Job, its pods and every change of them, in the order in which a watch told them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from klipstream_api import names
from klipstream_operator.workload import AttemptView, view_job, view_pod

JsonObject = dict[str, Any]
PATIENCE_SECONDS = 240.0


class NeverHappened(Exception):
    """What a case waits for did not come; the message shows what was there instead."""


@dataclass
class Life:
    """What has been seen of one attempt so far."""

    job_uid: str
    events: list[JsonObject] = field(default_factory=list)
    job: JsonObject | None = None
    pods: dict[str, JsonObject] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def saw(self, kind: str, obj: JsonObject) -> None:
        """A Job or pod was created or changed."""
        if kind == "Job":
            self.job = obj
        else:
            self.pods[obj["metadata"]["uid"]] = obj
        self._note("seen", kind, obj)

    def lost(self, kind: str, obj: JsonObject) -> None:
        """A Job or pod was removed."""
        if kind == "Job":
            self.job = None
        else:
            self.pods.pop(obj["metadata"]["uid"], None)
        gone = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
        self._note("gone", kind, {"metadata": gone})

    def _note(self, what: str, kind: str, obj: JsonObject) -> None:
        self.events.append({"what": what, "kind": kind, "object": obj})
        self.changed.set()

    @property
    def pod(self) -> JsonObject:
        """The only pod; an empty object before it is there."""
        return next(iter(self.pods.values()), {})

    @property
    def over(self) -> bool:
        """Whether the operator would call the attempt over, and the Job controller has said so as well."""
        view = AttemptView(job=view_job(self.job) if self.job is not None else None)
        view.pods = {uid: seen for uid, pod in self.pods.items() if (seen := view_pod(pod)) is not None}
        if self.job is None:
            return bool(self.events) and not view.live_pods
        settled = view.job is not None and (view.job.complete or view.job.failed or view.job.suspended)
        return view.over and settled

    async def until(self, condition: Callable[["Life"], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the condition holds. Raises NeverHappened."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition(self):
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                seen = [self.job, *self.pods.values()]
                shown = json.dumps([each and each.get("status") for each in seen])
                raise NeverHappened(f"never: {what}; seen: {shown}") from None


def attempt_of(obj: JsonObject) -> str | None:
    """The uid of the AnalysisJob that a Job or pod belongs to."""
    uid = (obj["metadata"].get("labels") or {}).get(names.JOB_UID_LABEL)
    return str(uid) if uid else None


def running(life: Life) -> bool:
    """The worker container runs."""
    statuses = life.pod.get("status", {}).get("containerStatuses", ())
    return any("running" in each["state"] for each in statuses)


def waits_with(*reasons: str) -> Callable[[Life], bool]:
    """Some container, or init container, waits for one of these reasons."""

    def holds(life: Life) -> bool:
        status = life.pod.get("status", {})
        each = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        return any(container["state"].get("waiting", {}).get("reason") in reasons for container in each)

    return holds


def unschedulable(life: Life) -> bool:
    """The scheduler finds no node."""
    conditions = life.pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "PodScheduled" and each["status"] == "False" for each in conditions)
