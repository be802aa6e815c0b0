"""What people do with the queues: the plan of a run's submissions and interventions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from klipsim.apiserver import ANALYSIS_JOBS, ANALYSIS_QUEUES, JOBS, PODS, ApiServer, Change, Kind, Refused
from klipsim.nodes import Script
from klipsim.objects import Object

NAMESPACE = "default"
AGENT = "kubectl"
GROUP = "analysis.klipstream.io"
PRIORITIES = ("URGENT", "HIGH", "NORMAL", "NORMAL", "LOW")
SUBMISSIONS = 20
"""So many jobs a plan has at least; further ones come where a run would end with too few writes."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that somebody does."""

    at: float
    verb: str
    target: str = ""
    """Name of a job or queue."""
    value: Any = None

    def __str__(self) -> str:
        return f"{self.at:6.1f} s {self.verb} {self.target} {self.value if self.value is not None else ''}"


@dataclass(frozen=True, slots=True)
class Reaction:
    """Something that somebody does at the worst moment: just after something happened to a job."""

    event: str
    nth: int
    """The how manieth of these events in the run, from 0."""
    delay: float
    verbs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.delay:.3f} s after {self.event} #{self.nth}: {', '.join(self.verbs)}"


REACTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "reserved": (("cancel",), ("cancel",), ("delete job",), ("priority",), ("resize",), ("drain", "run")),
    "starting": (("cancel",), ("delete pod",), ("delete Kubernetes Job",), ("delete job",)),
    "backing off": (("cancel",), ("clear",), ("resize",), ("priority",), ("delete job",)),
    "returned": (("resize",), ("resize",), ("cancel",), ("delete Kubernetes Job",), ("priority",), ("clear",)),
    "resumed": (("cancel",), ("delete job",), ("resize",)),
    "dead lettered": (
        ("replay",),
        ("drain", "replay", "run"),
        ("delete job",),
        ("replay-group",),
        ("resize", "replay"),
    ),
}
"""What may be done after which event."""


@dataclass(slots=True)
class Plan:
    """Queues, submissions and all that is done to them."""

    queues: dict[str, Object]
    actions: list[Action]
    rooms: list[int]
    """Worker pods that each node takes."""
    reactions: list[Reaction] = field(default_factory=list)
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    """What the worker of each attempt does, by job name; the last one repeats."""

    def script(self, name: str, attempt: int) -> Script:
        """What the worker of an attempt does."""
        scripts = self.scripts.get(name) or [Script(2.0, 0)]
        return scripts[min(attempt, len(scripts)) - 1]


def plan_users(rng: random.Random, horizon_seconds: float) -> Plan:
    """At random: two or three queues, 20 submissions, and interventions of every kind."""
    names = ["default", "bulk", "late"][: rng.choice((2, 2, 3))]
    plan = Plan(
        queues={name: _queue(rng) for name in names},
        actions=[],
        rooms=[rng.randint(0, 2), rng.randint(1, 3)] if rng.random() < 0.25 else [rng.randint(1, 4), rng.randint(2, 5)],
    )
    for name in names:
        late = name == "late" or rng.random() < 0.1
        plan.actions.append(Action(rng.uniform(5, horizon_seconds / 2) if late else 0.0, "create queue", name))
    jobs = [f"job-{number}" for number in range(SUBMISSIONS)]
    for name in jobs:
        burst = rng.random() < 0.5
        at = rng.choice((0.5, 10.0)) if burst else rng.uniform(0.1, horizon_seconds * 0.7)
        plan.actions.append(Action(at, "submit", name, _job(rng, names, at)))
        plan.scripts[name] = [_script(rng) for _ in range(rng.randint(1, 4))] + [Script(rng.uniform(0.5, 3), 0)]
        if rng.random() < 0.1:
            plan.scripts[name] = [_failing(rng)]
    for _ in range(rng.randint(3, 9)):
        plan.actions += _intervention(rng, jobs, names, horizon_seconds)
    for _ in range(rng.randint(2, 5)):
        event = rng.choice(tuple(REACTIONS))
        nth = rng.randrange(12) if event in ("reserved", "starting") else rng.randrange(3)
        plan.reactions.append(Reaction(event, nth, rng.choice((0.0, 0.004, 0.02, 0.3)), rng.choice(REACTIONS[event])))
    plan.actions.sort(key=lambda action: action.at)
    return plan


def _queue(rng: random.Random) -> Object:
    spec: Object = {
        "maxConcurrentJobs": rng.randint(1, 4),
        "maxQueueSize": rng.choice((100, 100, 100, 6)),
        "timeoutSeconds": rng.choice((12, 30)),
        "maxRetries": rng.randint(0, 3),
        "retryDelaysSeconds": rng.choice(([1], [1, 4], [3, 9, 20])),
        "cancelGraceSeconds": rng.choice((0, 3)),
        "startDeadlineSeconds": rng.choice((5, 10)),
        "nodeLost": {"seconds": 10, "release": True},
        "capacity": {"unschedulableSeconds": 3, "probeSeconds": 5, "probeAtMostSeconds": 20},
        "workerTemplate": {"spec": {"containers": [{"name": "worker", "image": "none"}],
                                    "terminationGracePeriodSeconds": 3}},
    }  # fmt: skip
    if rng.random() < 0.2:
        spec["aging"] = {"everySeconds": 6, "upTo": "URGENT"}
    if rng.random() < 0.2:
        spec["stall"] = {"noProgressSeconds": 8}
    if rng.random() < 0.2:
        spec["reservedSlots"] = {"URGENT": 1}
        spec["maxConcurrentJobs"] += 1
    return spec


def _job(rng: random.Random, queues: list[str], at: float) -> Object:
    spec: Object = {"videoUrl": "https://example.com/v.mp4", "priority": rng.choice(PRIORITIES)}
    if rng.random() < 0.8:
        spec["queueName"] = rng.choice(queues)
    if rng.random() < 0.15:
        spec["notBeforeSeconds"] = at + rng.uniform(1.0, 20.0)  # becomes notBefore at the time of submission
    if rng.random() < 0.1:
        spec["maxRetries"] = rng.randint(0, 2)
    if rng.random() < 0.1:
        spec["resources"] = {"requests": {"cpu": rng.choice(("1", "2"))}}
    if rng.random() < 0.03:
        spec["cancel"] = True
    return spec


def _script(rng: random.Random) -> Script:
    seconds = rng.choice((rng.uniform(0.2, 2.0), rng.uniform(2.0, 8.0), rng.uniform(6.0, 14.0)))
    if rng.random() < 0.7:
        return Script(seconds, 0, posts=rng.random() < 0.7, obeys=rng.random() < 0.7)
    return _failing(rng)


def _failing(rng: random.Random) -> Script:
    seconds = rng.uniform(0.2, 6.0)
    kind = rng.randrange(6)
    if kind == 0:
        return Script(seconds, 137, reason="OOMKilled")
    if kind == 1:
        return Script(seconds, 1, message='{"error_code": "source-gone", "retryable": false}')
    if kind == 2:
        return Script(seconds, 0, image_missing=True)
    if kind == 3:
        return Script(seconds, 0, hangs=True, posts=rng.random() < 0.7, obeys=False)
    return Script(seconds, rng.choice((1, 2, 139)), posts=rng.random() < 0.7)


QUEUE_VERBS = frozenset({"drain", "run", "clear", "replay-group"})
_VALUES: dict[str, Any] = {"priority": "URGENT", "resize": {"requests": {"cpu": "3"}}}
_EVENTS = {
    ("Queued", "Starting", True): "starting",
    ("Queued", "Starting", False): "resumed",
    ("Starting", "BackingOff", False): "backing off",
    ("Running", "BackingOff", False): "backing off",
    ("Starting", "Queued", False): "returned",
    ("Starting", "Failed", False): "dead lettered",
    ("Running", "Failed", False): "dead lettered",
}
"""Events of a job by its phases before and after, and whether a new attempt began."""
INTERVENTIONS = (
    "cancel", "cancel", "priority", "priority", "delete job", "replay", "replay", "scale", "scale", "pause", "drain",
    "clear", "clear-stuck", "reconcile", "restart", "replay-group", "delete pod", "delete Kubernetes Job", "resize",
    "delete queue",
)  # fmt: skip


def _intervention(rng: random.Random, jobs: list[str], queues: list[str], horizon_seconds: float) -> list[Action]:
    at, job, queue = rng.uniform(1.0, horizon_seconds), rng.choice(jobs), rng.choice(queues)
    verb = rng.choice(INTERVENTIONS)
    later = at + rng.uniform(2.0, 15.0)
    match verb:
        case "priority":
            return [Action(at, verb, job, rng.choice(PRIORITIES))]
        case "resize":
            return [Action(at, verb, job, {"requests": {"cpu": rng.choice(("1", "2", "3"))}})]
        case "scale":
            return [Action(at, verb, queue, rng.randint(0, 5))]
        case "pause" | "drain":
            return [Action(at, verb, queue), Action(later, "run", queue)]
        case "delete queue":
            return [Action(at, verb, queue), Action(later, "create queue", queue)]
        case "clear" | "clear-stuck" | "reconcile" | "restart" | "replay-group":
            return [Action(at, verb, queue)]
    return [Action(at, verb, job)]


class Users:
    """Carries the plan out, on the API server directly."""

    def __init__(
        self,
        server: ApiServer,
        plan: Plan,
        later: Callable[[float, Action], None],
        may_delete: Callable[[Object], bool],
    ) -> None:
        self._server, self._plan, self._later, self._may_delete = server, plan, later, may_delete
        self._happened: Counter[str] = Counter()
        self.submitted: set[str] = set()
        self.reacts = True
        server.listen(self._changed, ANALYSIS_JOBS, ANALYSIS_QUEUES)

    # --- reactions -------------------------------------------------------------------------------------------

    def _changed(self, kind: Kind, change: Change) -> None:
        if not self.reacts or change.before is None:
            return
        if kind is ANALYSIS_QUEUES:
            before = {(e["uid"], e["attempt"]) for e in (change.before.get("status") or {}).get("admitted") or ()}
            for entry in (change.obj.get("status") or {}).get("admitted") or ():
                if (entry["uid"], entry["attempt"]) not in before:
                    self._react("reserved", entry["name"], change.obj["metadata"]["name"])
        elif kind is ANALYSIS_JOBS:
            old, new = change.before["status"], change.obj["status"]
            event = _EVENTS.get((old["phase"], new["phase"], new["attempt"] > old["attempt"]))
            if event is not None:
                self._react(event, change.obj["metadata"]["name"], new.get("queueName", "default"))

    def _react(self, event: str, job: str, queue: str) -> None:
        nth = self._happened[event]
        self._happened[event] += 1
        for reaction in self._plan.reactions:
            if (reaction.event, reaction.nth) == (event, nth):
                for number, verb in enumerate(reaction.verbs):
                    target = queue if verb in QUEUE_VERBS else job
                    wait = reaction.delay + (8.0 if verb == "run" else 0.05 * number)
                    self._later(wait, Action(wait, verb, target, _VALUES.get(verb)))

    def go_on(self, count: int) -> None:
        """Submit more than was planned, to the queues in turn; what was lacking is there, so that they succeed."""
        queues = list(self._plan.queues)
        for number in range(len(self.submitted), len(self.submitted) + count):
            spec = {"videoUrl": "https://example.com/v.mp4", "queueName": queues[number % len(queues)]}
            self.act(Action(0.0, "submit", f"further-{number}", spec))

    # --- actions ---------------------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Do one thing; what the server refuses is said to the user, and that is all."""
        with suppress(Refused):
            self._act(action)

    def restore(self) -> None:
        """What must be so that everything can finish: queues exist, run and have slots."""
        for name, spec in self._plan.queues.items():
            found = self._server.find(ANALYSIS_QUEUES, NAMESPACE, name)
            if found is None:
                self._create_queue(name, spec)
            else:
                kept = sum((found["spec"].get("reservedSlots") or {}).values())
                limit = max(1 + kept, found["spec"]["maxConcurrentJobs"])
                self._spec(ANALYSIS_QUEUES, name, {"mode": "Running", "maxConcurrentJobs": limit})

    def _act(self, action: Action) -> None:
        server, target, value = self._server, action.target, action.value
        match action.verb:
            case "create queue":
                self._create_queue(target, self._plan.queues[target])
            case "submit":
                spec = dict(value)
                if "notBeforeSeconds" in spec:
                    later = spec.pop("notBeforeSeconds") - action.at
                    spec["notBefore"] = server.stamp(later)
                server.create(ANALYSIS_JOBS, NAMESPACE, {"metadata": {"name": target}, "spec": spec}, AGENT)
                self.submitted.add(target)
            case "cancel":
                self._spec(ANALYSIS_JOBS, target, {"cancel": True})
            case "priority":
                self._spec(ANALYSIS_JOBS, target, {"priority": value})
            case "resize":
                self._spec(ANALYSIS_JOBS, target, {"resources": value})
            case "replay":
                job = server.get(ANALYSIS_JOBS, NAMESPACE, target)
                self._spec(ANALYSIS_JOBS, target, {"replay": job["spec"]["replay"] + 1})
            case "delete job":
                server.delete(ANALYSIS_JOBS, NAMESPACE, target, AGENT)
            case "scale":
                self._spec(ANALYSIS_QUEUES, target, {"maxConcurrentJobs": value})
            case "pause" | "drain":
                self._spec(ANALYSIS_QUEUES, target, {"mode": "Paused" if action.verb == "pause" else "Draining"})
            case "run":
                self._spec(ANALYSIS_QUEUES, target, {"mode": "Running"})
            case "clear" | "clear-stuck" | "reconcile" | "restart":
                self._annotate(target, action.verb, f"{target} {action.at:.1f}")
            case "replay-group":
                groups = (server.get(ANALYSIS_QUEUES, NAMESPACE, target).get("status") or {}).get("deadLetterGroups")
                if groups:
                    self._annotate(target, "replay", groups[0]["fingerprint"])
            case "delete queue":
                server.delete(ANALYSIS_QUEUES, NAMESPACE, target, AGENT)
            case "delete pod":
                for pod in server.all(PODS):
                    if pod["metadata"]["annotations"].get(f"{GROUP}/job") == target:
                        server.delete(PODS, NAMESPACE, pod["metadata"]["name"], AGENT)
            case "delete Kubernetes Job":
                for job in server.all(JOBS):
                    mine = job["metadata"]["annotations"].get(f"{GROUP}/job") == target
                    if mine and self._may_delete(job):
                        server.delete(JOBS, NAMESPACE, job["metadata"]["name"], AGENT)

    def _create_queue(self, name: str, spec: Object) -> None:
        self._server.create(ANALYSIS_QUEUES, NAMESPACE, {"metadata": {"name": name}, "spec": spec}, AGENT)

    def _spec(self, kind: Any, name: str, changes: Object) -> None:
        self._server.patch(kind, NAMESPACE, name, {"spec": changes}, AGENT)

    def _annotate(self, queue: str, operation: str, value: str) -> None:
        body = {"metadata": {"annotations": {f"{GROUP}/{operation}": value}}}
        self._server.patch(ANALYSIS_QUEUES, NAMESPACE, queue, body, AGENT)
