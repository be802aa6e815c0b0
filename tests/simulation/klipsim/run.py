"""One run: everything follows from its seed."""

from __future__ import annotations

import gc
import hashlib
import logging
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from klipjudge.history import Request
from klipjudge.judge import judge
from klipjudge.verdict import Terms
from klipsim.apiserver import ANALYSIS_JOBS, ANALYSIS_QUEUES, PODS, ApiServer
from klipsim.clocks import EPOCH, simulated_clocks
from klipsim.exchange import exchanged
from klipsim.faults import Fault, Injector, plan_faults
from klipsim.http_api import Event
from klipsim.job_controller import Collectors, JobController
from klipsim.loop import NOBODY, SimulatedLoop, Stuck
from klipsim.network import Network, SimulatedClient
from klipsim.nodes import Nodes, Script
from klipsim.objects import Object
from klipsim.replica import OPERATOR, Replica
from klipsim.rows import TRANSITION
from klipsim.schema import FINISHED
from klipsim.thrift import less_done, nothing_twice
from klipsim.users import NAMESPACE, Action, Plan, Users, plan_users
from klipstream_api.analysisqueue import OPERATION_ANNOTATIONS
from klipstream_operator.settings import Settings
from klipstream_operator.status_writer import StatusWriter

HORIZON_SECONDS = 45.0
"""Users act and faults begin within this time."""
SWEEP_SECONDS = 20
NEVER_SECONDS = 86_400
"""Where no watch swallows anything nobody sweeps but at a user's word, so that who is not woken never finishes."""
WRITES_AT_LEAST = 200
"""A run that is over with fewer writes goes on with further submissions."""
FURTHER_AT_ONCE = 3
PATIENCE_SECONDS = 900.0
"""After the last fault everything must be finished within this time."""
QUIET_SECONDS = 25.0
"""How long the steady state at the end is watched."""
REPLICAS = "abcdefgh"
REPLICAS_OF_A_SHARD = 2
"""Where there are several shards; two only, so that a run stays as long as the others."""
ROOM_IN_THE_END = 3
"""Worker pods that there is room for after the last fault."""
SCRIPT_IN_THE_END = Script(1.0, 0)
"""What workers do that start after it. What fails, and where there is hardly any room, was tried until then; that
everything finishes is seen sooner so, in a fifth less time."""
GRACE_SECONDS = 30.0
"""What a pod that is told to end is left."""
LAYOUTS = ((1,), (1,), (1,), (1,), (1,), (1,), (2,), (1, 2), (1,), (1,), (1,), (1,), (1,), (1,), (2,), (2, 1))
"""By the last four bits of the seed."""
THOROUGH_EVERY = 16
"""So many blocks of seeds, one for each layout, have one in which nothing is left out to save time."""
_OPERATIONS = [(name.value, annotation) for name, annotation in OPERATION_ANNOTATIONS.items()]


@dataclass(slots=True)
class Result:
    """What a run showed."""

    seed: int
    violations: list[str] = field(default_factory=list)
    hit: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Faults carried out, by row and kind."""
    transitions: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    """By operators."""
    all_writes: int = 0
    """By whomever."""
    jobs: int = 0
    seconds: float = 0.0
    """Simulated."""
    digest: str = ""
    """Of all writes: equal for equal runs."""
    checked: Counter[str] = field(default_factory=Counter)
    """How often each promise was put to the test."""
    history: list[Request] = field(default_factory=list)


@dataclass(slots=True)
class Scenario:
    """What a seed stands for; a part of it can be left out, to see whether it matters."""

    seed: int
    plan: Plan
    faults: list[Fault]
    replicas: int
    layouts: tuple[int, ...] = (1,)
    """Into how many shards the queues are divided, one layout after the other."""
    changed_at: float = 0.0
    """When the second layout takes the place of the first."""

    @property
    def thorough(self) -> bool:
        """Whether nothing is left out to save time."""
        return self.seed // len(LAYOUTS) % THOROUGH_EVERY == 0

    @classmethod
    def of(cls, seed: int) -> Scenario:
        """The scenario of a seed."""
        rng = random.Random(f"plan {seed}")
        plan = plan_users(rng, HORIZON_SECONDS)
        faults, replicas = plan_faults(rng, HORIZON_SECONDS), rng.choice((2, 2, 3))
        return cls(seed, plan, faults, replicas, LAYOUTS[seed % len(LAYOUTS)], rng.uniform(5.0, HORIZON_SECONDS - 10.0))


def run(scenario: Scenario, *, keep_history: bool = True) -> Result:
    """Run a scenario to its end, and judge it."""
    random.seed(f"run {scenario.seed}")
    # Killed processes leave coroutines behind that never end. When they are collected they complain, which says
    # nothing; and it must not happen in the middle of a run, since it would be at a moment that no seed decides.
    # What was there before, mostly modules, need not be looked through then.
    gc.disable()
    gc.freeze()
    complain, sys.unraisablehook = sys.unraisablehook, lambda _: None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that never began complain in their own way
        try:
            thrift = nullcontext() if scenario.thorough else less_done()
            with simulated_clocks(), _transitions_noted(), nothing_twice(), thrift:
                return _run(scenario, keep_history)
        finally:
            gc.collect()
            gc.unfreeze()
            gc.enable()
            sys.unraisablehook = complain


def _run(scenario: Scenario, keep_history: bool) -> Result:
    world = _World(scenario)
    result = world.run()
    if not keep_history:
        # What is in no cycle goes at once, so that the collector need not look through it.
        result.history = []
        world.server.clear()
    return result


@contextmanager
def _transitions_noted() -> Iterator[None]:
    """Each write of a status knows which transition it is, for the injector."""
    write = StatusWriter.write

    async def noted(self: StatusWriter, job: Any, status: Any, transition: Any, *queue: Any) -> bool:
        token = TRANSITION.set(transition)
        try:
            return await write(self, job, status, transition, *queue)
        finally:
            TRANSITION.reset(token)

    with exchanged((StatusWriter, "write", noted)):
        yield


class _World:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        seed = scenario.seed
        self.loop = loop = SimulatedLoop()
        self.rng = random.Random(f"world {seed}")
        self.server = ApiServer(random.Random(f"server {seed}"), lambda: EPOCH + loop.time())
        self.injector = Injector(scenario.faults, loop.time, random.Random(f"injector {seed}"))
        self.network = Network(loop, self.server, self.injector, random.Random(f"network {seed}"))
        JobController(loop, self.server, random.Random(f"jobs {seed}"))
        Collectors(loop, self.server, random.Random(f"garbage {seed}"))
        self.nodes = Nodes(
            loop, self.server, random.Random(f"nodes {seed}"), self._script, self.post, scenario.plan.rooms
        )
        self.users = Users(self.server, scenario.plan, self._act_later, self._may_delete)
        self.bugs: list[str] = []
        lease = self.rng.choice(("5", "15", "15"))
        swallowed = any(fault.kind == "watch swallows" for fault in scenario.faults)
        self.environment = {
            "KLIPSTREAM_NAMESPACES": NAMESPACE, "KLIPSTREAM_LEASE_SECONDS": lease,
            "KLIPSTREAM_SWEEP_SECONDS": str(SWEEP_SECONDS if swallowed else NEVER_SECONDS),
            "KLIPSTREAM_ARCHIVE_LOGS": "false",
            "KLIPSTREAM_EVENTS": "on" if self.rng.random() < 0.05 else "off",
        }  # fmt: skip
        self.replicas: list[Replica] = []
        """Those of a former layout as well."""
        self.result = Result(seed)
        self.quiet_from = 0.0
        self._looked_at, self._work_left = 0, True

    # --- the run -----------------------------------------------------------------------------------------------

    def run(self) -> Result:
        for action in self.scenario.plan.actions:
            self._at(action.at, self.users.act, action)
        for fault in self.scenario.faults:
            if not fault.row:
                self._at(fault.at, self._strike, fault)
        first, *others = self.scenario.layouts
        for number, replica in enumerate(self._made(first)):
            self._at(0.1 * number, replica.start)
        for shards in others:
            self._at(self.scenario.changed_at, self._divide_anew, shards)
        try:
            self.loop.run_until(lambda: self.loop.time() >= HORIZON_SECONDS)
            self._end_faults()
            give_up = self.loop.time() + PATIENCE_SECONDS
            while True:
                self.loop.run_until(lambda: self.loop.time() > give_up or self._settled())
                if self.loop.time() > give_up or len(self.server.history) >= WRITES_AT_LEAST:
                    break
                self.users.go_on(FURTHER_AT_ONCE)
            # What a watch has swallowed until the end of the faults is mended by the sweep that follows, and what one
            # did not tell since it is silent, when that is noticed.
            noticed = (stream.given_up_at for stream in self.network.streams)
            self.quiet_from = max(self.loop.time(), HORIZON_SECONDS + SWEEP_SECONDS, *noticed) + 5.0
            self.loop.run_until(lambda: self.loop.time() >= self.quiet_from + QUIET_SECONDS)
        except Stuck as stuck:
            self.result.violations.append(f"stuck: {stuck}")
        self._judge()
        for replica in self.replicas:
            if replica.process is not None:
                replica.process.kill()
        return self.result

    def _made(self, shards: int) -> list[Replica]:
        """The replicas of a layout, which do not run yet."""
        made = []
        for shard in range(shards):
            settings = Settings.from_environment(self.environment | {
                "KLIPSTREAM_SHARD": str(shard), "KLIPSTREAM_SHARDS": str(shards),
                "KLIPSTREAM_SHARD_URL": "http://operator-{shard}/v1/progress",
            })  # fmt: skip
            for _ in range(self.scenario.replicas if shards == 1 else REPLICAS_OF_A_SHARD):
                name = REPLICAS[len(self.replicas)]
                skew = self.rng.choice((0.0, self.rng.uniform(-2, 2), self.rng.uniform(-90, 90)))
                rng = random.Random(f"replica {name} {self.scenario.seed}")
                replica = Replica(name, self.network, settings, rng, SimulatedClient, self._peers, self.bugs, skew)
                self.replicas.append(replica)
                made.append(replica)
        return made

    def _divide_anew(self, shards: int) -> None:
        """As when a chart with another number of shards is installed: all Deployments come and go at once."""
        old = list(self.replicas)
        for replica in self._made(shards):
            self.loop.call_later(self.rng.uniform(0.0, 3.0), replica.start, context=NOBODY)
        slowest = self.rng.choice((5.0, 5.0, 30.0))
        for replica in old:
            self.loop.call_later(self.rng.uniform(0.0, slowest), replica.retire, GRACE_SECONDS, context=NOBODY)

    def _peers(self, shard: int) -> list[Replica]:
        """The replicas behind the Service of a shard."""
        return [replica for replica in self.replicas if replica.settings.shard.number == shard and replica.runs]

    def _at(self, seconds: float, act: Any, *args: Any) -> None:
        self.loop.call_at(seconds, act, *args, context=NOBODY)

    def _act_later(self, seconds: float, action: Action) -> None:
        self.loop.call_later(seconds, self.users.act, action, context=NOBODY)

    def _settled(self) -> bool:
        """Nothing is left to do, and nothing is on its way."""
        if self.network.under_way:
            return False
        if self._looked_at != self.server.version:
            self._looked_at = self.server.version
            self._work_left = any(not _is_over(job) for job in self.server.all(ANALYSIS_JOBS)) or any(
                _has_work(queue) for queue in self.server.all(ANALYSIS_QUEUES)
            )
        return not self._work_left

    def _end_faults(self) -> None:
        self.injector.armed = self.users.reacts = False
        self.injector.storm_until = 0.0
        self.network.down = False
        self.users.restore()
        for replica in self.replicas:
            replica.recover()
        for node in self.nodes.nodes:
            self.nodes.recover(node)
        if not self.scenario.thorough:
            self.nodes.grow(ROOM_IN_THE_END)

    # --- faults that begin at a time ---------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        replica = self.replicas[fault.replica % len(self.replicas)]
        self.injector.happened(fault.kind)
        loop = self.loop
        match fault.kind:
            case "killed":
                if replica.process is not None:
                    replica.crash(replica.process)
            case "terminated":
                replica.terminate()
            case "frozen":
                replica.freeze(fault.seconds)
            case "partitioned":
                replica.partitioned = True
                self.network.cut(replica)
                loop.call_later(fault.seconds, setattr, replica, "partitioned", False, context=NOBODY)
            case "server away":
                self.network.down = True
                self.network.cut()
                loop.call_later(fault.seconds, setattr, self.network, "down", False, context=NOBODY)
            case "error storm":
                self.injector.storm = ("refused 500", "refused 503", "refused 429")[int(fault.detail * 3)]
                self.injector.storm_until = loop.time() + fault.seconds
            case "compacted":
                self.server.compact()
            case "node lost":
                self.nodes.lose(int(fault.detail * 10), fault.seconds, noticed_after=fault.seconds * fault.detail)
            case "clock set":
                if replica.process is not None:
                    replica.skew_seconds = replica.process.skew_seconds = (fault.detail - 0.5) * 240
            case _:
                self._disturb_watches(fault, replica)

    def _disturb_watches(self, fault: Fault, replica: Replica) -> None:
        streams = [stream for stream in self.network.streams if stream.replica is replica]
        for stream in streams[int(fault.detail * 4) % 4 :]:
            match fault.kind:
                case "watch lags":
                    stream.lag_until, stream.lag_seconds = self.loop.time() + fault.seconds, fault.seconds
                case "watch cut":
                    stream.break_off(aiohttp.ClientPayloadError("reset"))
                case "watch gone":
                    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    stream.inject(Event("ERROR", status))
                case "watch swallows":
                    stream.swallow += 1 + int(fault.detail * 3)
                case "watch repeats":
                    stream.duplicate += 3
                case "watch silent":
                    stream.mute()

    # --- what else happens ---------------------------------------------------------------------------------------

    def _script(self, name: str, attempt: int) -> Script:
        """What the worker of an attempt does that starts now."""
        as_planned = self.injector.armed or self.scenario.thorough
        return self.scenario.plan.script(name, attempt) if as_planned else SCRIPT_IN_THE_END

    async def post(self, token: str, body: Object) -> tuple[int, Object]:
        """A worker posts to the Service: some replica that runs takes it."""
        running = [replica for replica in self.replicas if replica.runs] or self.replicas
        return await self.rng.choice(running).post(token, body)

    def _may_delete(self, job: Object) -> bool:
        """Whether a Kubernetes Job may be deleted by hand: not while somebody may be frozen inside its creation."""
        uid = job["metadata"]["uid"]
        named = any(
            attempt.get("jobUID") == uid
            for owner in self.server.all(ANALYSIS_JOBS)
            for attempt in owner["status"].get("attempts") or ()
        )
        return named and not any(r.process is not None and r.process.frozen for r in self.replicas)

    # --- judging ---------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        result, history = self.result, self.server.history
        result.hit, result.history = self.injector.hit, history
        result.seconds = self.loop.time()
        result.all_writes = len(history)
        result.jobs = len(self.users.submitted)
        result.writes = sum(1 for request in history if request.agent.startswith(OPERATOR))
        result.violations += self.bugs
        result.violations += [
            f"unhandled: {error.get('exception')!r} {error.get('message')}" for error in self.loop.errors
        ]
        terms = Terms(
            operators=(OPERATOR,),
            quiet_from=EPOCH + self.quiet_from if self.quiet_from else None,
            faults_ended=EPOCH + HORIZON_SECONDS,
            finish_within_seconds=PATIENCE_SECONDS,
        )
        verdict = judge(history, terms)
        result.checked = verdict.checked
        result.violations += [f"{each.rule} at {each.revision}: {each.message}" for each in verdict.violations]
        if any(pod["status"]["phase"] not in ("Succeeded", "Failed") for pod in self.server.all(PODS)):
            result.violations.append("a worker pod is left")
        hasher = hashlib.sha256()
        for request in history:
            hasher.update(
                f"{request.revision} {request.agent} {request.kind_of} {request.name} {request.received}".encode()
            )
        result.digest = hasher.hexdigest()[:16]


def simulate(seed: int, *, keep_history: bool = True) -> Result:
    """Run the scenario of a seed."""
    return run(Scenario.of(seed), keep_history=keep_history)


def _is_over(job: Object) -> bool:
    """Whether an AnalysisJob is finished, with no replay to come."""
    status = job["status"]
    if status["phase"] == "Failed" and job["spec"]["replay"] > status["observedReplay"]:
        return False
    return status["phase"] in FINISHED


def _has_work(queue: Object) -> bool:
    """Whether a queue counts jobs that are under way, or something that was asked of it is not answered yet."""
    status, metadata = queue.get("status") or {}, queue["metadata"]
    answered = {operation["name"]: operation["request"] for operation in status.get("operations") or ()}
    asked = metadata.get("annotations") or {}
    return (
        any(status.get(name) for name in ("admitted", "queued", "backingOff"))
        or status.get("observedGeneration") != metadata["generation"]
        or any(asked.get(annotation, answered.get(name)) != answered.get(name) for name, annotation in _OPERATIONS)
        or any(replay["state"] in ("Canary", "Releasing") for replay in status.get("replays") or ())
    )


# The operator's own words would say nothing that the history does not; what is disabled costs least.
logging.disable(logging.CRITICAL)
