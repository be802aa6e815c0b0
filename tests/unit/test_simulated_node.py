"""The simulated kubelet, scheduler and controllers do what real ones were recorded to do (tests/unit/recordings)."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from klipsim.apiserver import ANALYSIS_JOBS, JOBS, PODS, ApiServer, Change, Kind
from klipsim.job_controller import Collectors, JobController
from klipsim.loop import SimulatedLoop
from klipsim.nodes import LABEL_ATTEMPT, NAME, Nodes, Script

RECORDINGS = Path(__file__).parent / "recordings"
SEEDS = range(300)
SECONDS = 120.0
Object = dict[str, Any]
States = dict[str, list[Object]]


def suspend(world: "World") -> None:
    world.server.patch(JOBS, "default", "work", {"spec": {"suspend": True}}, "test")


def delete_job(world: "World") -> None:
    world.server.delete(JOBS, "default", "work", "test")


def delete_pod(world: "World") -> None:
    for pod in world.server.all(PODS):
        world.server.delete(PODS, "default", pod["metadata"]["name"], "test")


@dataclass(frozen=True)
class Scene:
    """How a recording was made."""

    script: Script
    deadline_seconds: int = 600
    room: int = 1
    act: Callable[["World"], None] | None = None
    """Done once the pod runs, or, where there is no room, once it says so."""


RUNS_ON = Script(600.0, 0, posts=False)
SCENES = {
    "exit-0": Scene(Script(0.1, 0)),
    "exit-1": Scene(Script(0.1, 1)),
    "exit-139": Scene(Script(0.1, 139)),
    "oom": Scene(Script(0.1, 137, reason="OOMKilled")),
    "deadline": Scene(RUNS_ON, deadline_seconds=3),
    "deadline-while-pulling": Scene(Script(1.0, 0, image_missing=True), deadline_seconds=2),
    "image-pull": Scene(Script(1.0, 0, image_missing=True)),
    "unschedulable-cpu": Scene(RUNS_ON, room=0),
    "job-suspended": Scene(RUNS_ON, act=suspend),
    "job-deleted": Scene(RUNS_ON, act=delete_job),
    "pod-deleted": Scene(RUNS_ON, act=delete_pod),
    "pod-deleted-exit-143": Scene(RUNS_ON, act=delete_pod),
    "pod-deleted-exit-0": Scene(RUNS_ON, act=delete_pod),
    "pod-deleted-pending": Scene(RUNS_ON, room=0, act=delete_pod),
}


class World:
    """A Job of one pod in the simulation."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene, self.loop, self.states = scene, SimulatedLoop(), States()
        loop = self.loop
        self.server = ApiServer(random.Random(f"server {seed}"), loop.time)
        JobController(loop, self.server, random.Random(f"jobs {seed}"))
        Collectors(loop, self.server, random.Random(f"garbage {seed}"))
        Nodes(loop, self.server, random.Random(f"nodes {seed}"), lambda *_: scene.script, _no_answer, [scene.room])
        self.server.listen(self._changed, JOBS, PODS)
        self._acted = scene.act is None

    def run(self) -> States:
        self.loop.call_later(0.0, self._begin)
        self.loop.call_later(SECONDS + 1.0, lambda: None)
        self.loop.run_until(lambda: self.loop.time() > SECONDS)
        assert not self.loop.errors
        return self.states

    def _begin(self) -> None:
        spec = {"videoUrl": "https://example.com/v.mp4"}
        owner = self.server.create(ANALYSIS_JOBS, "default", {"metadata": {"name": "a"}, "spec": spec}, "test")
        reference = {"kind": "AnalysisJob", "name": "a", "uid": owner["metadata"]["uid"], "controller": True}
        pod_spec = {"containers": [{"name": "worker", "image": "none"}],
                    "activeDeadlineSeconds": self.scene.deadline_seconds}  # fmt: skip
        template = {"metadata": {"labels": {LABEL_ATTEMPT: "1"}, "annotations": {NAME: "a"}}, "spec": pod_spec}
        body = {"metadata": {"name": "work", "ownerReferences": [reference]}, "spec": {"template": template}}
        self.server.create(JOBS, "default", body, "test")

    def _changed(self, kind: Kind, change: Change) -> None:
        note(self.states, kind.kind, change.obj, gone=change.type == "DELETED")
        ready = self.scene.room == 0 or change.obj["status"].get("phase") == "Running"
        if kind is PODS and ready and not self._acted:
            self._acted = True
            assert self.scene.act is not None
            self.loop.call_later(3.0, self.scene.act, self)


async def _no_answer(token: str, body: Object) -> tuple[int, Object]:
    return 0, {}


def note(states: States, kind: str, obj: Object, *, gone: bool) -> None:
    """One more state of the Job or its pod, where it is another than the last."""
    state = {"gone": True} if gone else job_state(obj) if kind == "Job" else pod_state(obj)
    known = states.setdefault(kind, [])
    if not known or known[-1] != state:
        known.append(state)


def true_conditions(obj: Object) -> Object:
    conditions = obj["status"].get("conditions") or ()
    return {each["type"]: each.get("reason", "") for each in conditions if each["status"] == "True"}


def job_state(obj: Object) -> Object:
    status = obj["status"]
    left = bool(status.get("active") or status.get("terminating"))
    return {"suspend": obj["spec"]["suspend"], "conditions": true_conditions(obj), "pods left": left}


def pod_state(obj: Object) -> Object:
    status, metadata = obj["status"], obj["metadata"]
    scheduled = [each["reason"] for each in status.get("conditions") or ()
                 if each["type"] == "PodScheduled" and each["status"] == "False"]  # fmt: skip
    return {
        "phase": status["phase"], "reason": status.get("reason"), "deleted": "deletionTimestamp" in metadata,
        "held": bool(metadata.get("finalizers")), "bound": "nodeName" in obj["spec"], "no node": scheduled,
        "disrupted": "DisruptionTarget" in true_conditions(obj),
        "containers": [
            [(what, detail.get("exitCode"), detail.get("reason")) for what, detail in each["state"].items()]
            for each in status.get("containerStatuses") or ()
        ],
    }  # fmt: skip


def recorded(name: str) -> States:
    states = States()
    for event in json.loads((RECORDINGS / f"{name}.json").read_text())["events"]:
        note(states, event["kind"], event["object"], gone=event["what"] == "gone")
    return states


@pytest.mark.parametrize("name", SCENES)
def test_what_was_recorded_of_a_real_node_happens_in_the_simulation(name: str) -> None:
    """With some seed: which code a worker ends with, and whether it is seen starting, is chance.

    Some recordings stop before the end of everything.
    """
    missing = recorded(name)
    for seed in SEEDS:
        found = World(SCENES[name], seed).run()
        missing = {kind: wanted for kind, wanted in missing.items() if found[kind][: len(wanted)] != wanted}
        if not missing:
            return
    told = [f"{kind}:\n{_lines(wanted)}\nnever happens, but\n{_lines(found[kind])}" for kind, wanted in missing.items()]
    pytest.fail("\n".join(told))


def _lines(states: list[Object]) -> str:
    return "\n".join(f"  {json.dumps(state)}" for state in states)
