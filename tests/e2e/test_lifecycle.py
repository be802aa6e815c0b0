"""The whole life of a job on a real node: one batch in which everything that can happen to a job happens.

Each case is a row of CASES: what is submitted, what is done to it, and what its status has to say in the end. All run
at the same time; the node's kubelet is killed afterwards, in a test of its own.
"""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster
from klipnode.second_node import second_node
from klipnode.stage import NeverHappened, Stage, on_stage, worker_template

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(os.geteuid() != 0, reason="a whole node needs root"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "build" / "images" / "pipeline.tar"
JsonObject = dict[str, Any]
Act = Callable[[Stage, str], Awaitable[None]]

EVENT_SECONDS = 15.0
TIMING = ("Running", "HeldUp")
"""Reasons of events that come or not, as fast as the machine is: whether a worker runs for 5 s, whether a job is seen
before its queue."""

SLEEP = "exec sleep 600"
# Not at once: containerd begins to listen for what the kernel kills just after a container has started.
EAT = "sleep 2; exec python3 -c 'eaten = [b\"x\" * 2**20 for _ in range(512)]'"
FILL = f"head -c 40000000 /dev/zero > /tmp/big; {SLEEP}"
FIRST = 'if [ "$ANALYSIS_ATTEMPT" = 1 ]; then %s; fi'
SAY = "echo '%s' > /dev/termination-log; "
POST = r"""
import json, os, signal, sys, time, urllib.request
def post(percentage, **more):
    body = json.dumps({"percentage": percentage, "stage": "Analyzing"} | more).encode()
    token = open(os.environ["ANALYSIS_TOKEN_FILE"]).read().strip()
    request = urllib.request.Request(os.environ["ANALYSIS_PROGRESS_URL"], body, {"Authorization": "Bearer " + token})
    while True:
        try:
            return json.load(urllib.request.urlopen(request, timeout=5))
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.2)
"""


def python(script: str) -> str:
    """A shell script that runs Python."""
    return f"exec python3 - << 'END'\n{POST}\n{script}\nEND"


@dataclass(frozen=True)
class Ended:
    """How one attempt ended; no failure class for one that succeeded or was cancelled."""

    failure_class: str | None = None
    reasons: tuple[str | None, ...] = (None,)
    exit_codes: tuple[int | None, ...] = (None,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict):
            return NotImplemented
        return (
            other.get("failureClass") == self.failure_class
            and other.get("reason") in self.reasons
            and other.get("exitCode") in self.exit_codes
        )


def failed(failure_class: str, reason: str | tuple[str, ...], *exit_codes: int | None) -> Ended:
    return Ended(failure_class, (reason,) if isinstance(reason, str) else reason, exit_codes or (None,))


OK = Ended()


@dataclass(frozen=True)
class Case:
    """A job, what is done to it, and its status in the end."""

    name: str
    script: str
    phase: str
    attempts: tuple[Ended, ...]
    spec: JsonObject = field(default_factory=dict)
    queue: str = "work"
    act: Act | None = None
    retries: int = 0
    losses: int = 0
    conditions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Status and reason by type, beside Finished."""
    finished: str | None = None
    """Reason of Finished; the phase where absent."""
    events: str = "Accepted Started Succeeded"
    """A regular expression for the reasons of its events, without those that depend on how fast the machine is."""
    also: Callable[[Stage, str], bool] = lambda stage, name: True
    """What else has to be true in the end."""


# --- what is done to a job ---------------------------------------------------------------------------------------


async def cancel_while_queued(stage: Stage, name: str) -> None:
    await stage.until(lambda: bool(stage.status(name).get("sequence")), f"{name} is accepted")
    await stage.change_job(name, cancel=True)


async def cancel_while_running(stage: Stage, name: str) -> None:
    await stage.until_running(name)
    await stage.change_job(name, cancel=True)


async def cancel_once_it_posts(stage: Stage, name: str) -> None:
    await stage.until(lambda: "progress" in stage.status(name), f"{name} posts")
    await stage.change_job(name, cancel=True)


async def delete_its_pod(stage: Stage, name: str) -> None:
    await stage.delete_pod(await stage.until_running(name))


async def evict_its_pod(stage: Stage, name: str) -> None:
    await stage.evict_pod(await stage.until_running(name))


async def free_the_node(stage: Stage, name: str) -> None:
    await stage.until(lambda: condition(stage.status(name), "CapacityAvailable")[0] == "False", f"{name} finds no node")
    await stage.delete_pod("blocker")


async def replay_once_it_is_dead(stage: Stage, name: str) -> None:
    await stage.until(lambda: stage.phase(name) == "Failed", f"{name} is a dead letter")
    await stage.change_job(name, replay=1)


async def resume_with_a_raised_priority(stage: Stage, name: str) -> None:
    """The queue is paused; the last one is raised, the queue resumed, its limit raised and lowered again."""
    waiting = ("order-1", "order-2", "order-3", name)
    await stage.until(lambda: all(stage.status(each).get("sequence") for each in waiting), "all are accepted")
    await asyncio.sleep(2)
    assert {stage.phase(each) for each in waiting} == {"Queued"}, "a paused queue starts nothing"
    await stage.change_job(name, priority="URGENT")
    # The head is written every two seconds at most, and so it may be empty for a moment.
    await stage.until(lambda: head(stage, "order") == name, f"{name} is the head")
    await stage.change_queue("order", mode="Running")
    await stage.until_running(name)
    await stage.scale_queue("order", 3)
    await stage.until(lambda: stage.queue_status("order").get("active") == 3, "the raised limit is used")
    await stage.scale_queue("order", 1)


def head(stage: Stage, queue: str) -> str:
    """The job of a queue that starts next."""
    return next((str(entry["name"]) for entry in stage.queue_status(queue).get("head") or ()), "")


async def until_its_log_is_archived(stage: Stage, name: str) -> None:
    def archived() -> bool:
        return any("logUrl" in each for each in stage.status(name).get("attempts", ()))

    await stage.until(archived, f"the log of {name} is archived")


def condition(status: JsonObject, kind: str) -> tuple[str, str]:
    found = next((each for each in status.get("conditions", ()) if each["type"] == kind), {})
    return found.get("status", ""), found.get("reason", "")


# --- what else is true of it -------------------------------------------------------------------------------------


def says(text: str) -> Callable[[Stage, str], bool]:
    return lambda stage, name: text in json.dumps(stage.status(name))


def progress_was_seen(stage: Stage, name: str) -> bool:
    halfway = stage.went_through(name, lambda status: status.get("progress", {}).get("percentage") == 50)
    return halfway and stage.status(name)["progress"]["percentage"] == 100


def waited_for_capacity(stage: Stage, name: str) -> bool:
    seen = stage.went_through(
        name, lambda s: s["phase"] == "Queued" and condition(s, "CapacityAvailable") == ("False", "InsufficientCpu")
    )
    return seen and len(stage.made_for(name, "Job")) == 1  # the same attempt went on


def log_says_why(stage: Stage, name: str) -> bool:
    archived = Path(stage.status(name)["attempts"][0]["logUrl"].removeprefix("file://"))
    return archived.read_text() == "the first attempt fails\n"


def comes_first_and_limits_are_obeyed(stage: Stage, name: str) -> bool:
    """The raised job first; two more while the limit was raised; the last one only when it was alone."""
    others = (name, "order-1", "order-2")
    order = sorted((*others, "order-3"), key=stage.began)
    return order[0] == name and all(stage.ended(each) < stage.began("order-3") for each in others)


def dead(reason: str) -> dict[str, tuple[str, str]]:
    return {"DeadLettered": ("True", reason)}


ONCE = {"maxRetries": 0}
DEAD_AT_ONCE = "Accepted Started DeadLettered"
STOPPED = "Accepted Started Stopping DeadLettered"
AGAIN_AT_ONCE = "Accepted Started Retrying Started Succeeded"
IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff")

CASES: tuple[Case, ...] = (
    Case("success", SAY % '{"result_url": "s3://bucket/result.json"}', "Succeeded", (OK,),
         also=says("s3://bucket/result.json")),
    Case("success-with-progress", python("post(50)\ntime.sleep(6)\npost(80)"), "Succeeded", (OK,),
         also=progress_was_seen),
    Case("failure-then-success", FIRST % "echo the first attempt fails; exit 7", "Succeeded",
         (failed("Transient", "Error", 7), OK), act=until_its_log_is_archived, retries=1, also=log_says_why,
         events="Accepted Started Retrying RetryDue Started Succeeded"),
    Case("failure-until-no-retry-is-left", SAY % '{"error_code": "Unlucky", "message": "No luck."}' + "exit 1",
         "Failed", (failed("Transient", "Unlucky", 1), failed("Transient", "Unlucky", 1)), retries=1,
         finished="Transient", conditions=dead("Unlucky"), also=says("all 1 retries are used up"),
         events="Accepted Started Retrying RetryDue Started DeadLettered"),
    Case("dead-letter-replayed", FIRST % "exit 1", "Succeeded", (failed("Transient", "Error", 1), OK), ONCE,
         act=replay_once_it_is_dead, conditions={"DeadLettered": ("False", "Replayed")},
         events="Accepted Started DeadLettered Replayed Started Succeeded"),
    Case("permanent", SAY % '{"error_code": "SourceGone", "message": "It is gone.", "retryable": false}' + "exit 66",
         "Failed", (failed("Permanent", "SourceGone", 66),), finished="Permanent", conditions=dead("SourceGone"),
         also=says("It is gone."), events=DEAD_AT_ONCE),
    Case("out-of-memory", EAT, "Failed", (failed("OutOfMemory", "OOMKilled", 137),),
         ONCE | {"resources": {"limits": {"memory": "64Mi"}}}, finished="OutOfMemory", conditions=dead("OOMKilled"),
         events=DEAD_AT_ONCE),
    Case("timeout", SLEEP, "Failed", (failed("Timeout", "DeadlineExceeded", 137),), ONCE | {"timeoutSeconds": 40},
         finished="Timeout", conditions=dead("DeadlineExceeded"), also=says("timeoutSeconds (40 s)"),
         events=DEAD_AT_ONCE),
    Case("disk-full", FILL, "Failed", (failed("DiskFull", "Evicted", 137, None),),
         ONCE | {"resources": {"limits": {"ephemeral-storage": "8Mi"}}}, finished="DiskFull",
         conditions=dead("Evicted"), events=DEAD_AT_ONCE),
    Case("pod-deleted-by-hand", FIRST % SLEEP, "Succeeded", (failed("Infrastructure", "PodDeleted", 137), OK),
         act=delete_its_pod, losses=1, events=AGAIN_AT_ONCE),
    Case("evicted-through-the-api", FIRST % SLEEP, "Succeeded",
         (failed("Infrastructure", "EvictionByEvictionAPI", 137), OK), act=evict_its_pod, losses=1,
         events=AGAIN_AT_ONCE),
    Case("cancelled-while-running", SLEEP, "Cancelled", (OK,), act=cancel_while_running,
         events="Accepted Started Cancelled"),
    Case("cancelled-with-grace", python("while post(10)['desired'] == 'Continue': time.sleep(0.5)\nsys.exit(130)"),
         "Cancelled", (OK,), act=cancel_once_it_posts,
         events="Accepted Started Stopping Cancelled"),
    Case("cancelled-while-queued", "exit 0", "Cancelled", (), queue="held", act=cancel_while_queued,
         events="Accepted Cancelled"),
    Case("no-such-program", "exit 0", "Failed", (failed("Transient", "StartError", 128),), ONCE, queue="no-program",
         finished="Transient", conditions=dead("StartError"), also=says("/no/such/program"), events=DEAD_AT_ONCE),
    Case("no-such-image", "exit 0", "Failed", (failed("Transient", IMAGE_REASONS),), ONCE, queue="no-image",
         finished="Transient", also=says("pull secret"), events=STOPPED),
    Case("no-such-image-name", "exit 0", "Failed", (failed("Permanent", "InvalidImageName"),), queue="no-name",
         finished="Permanent", conditions=dead("InvalidImageName"), events=STOPPED),
    Case("no-such-secret", "exit 0", "Failed", (failed("Transient", "CreateContainerConfigError"),), ONCE,
         queue="no-secret", finished="Transient", conditions=dead("CreateContainerConfigError"),
         also=says('secret \\"absent\\" not found'), events=STOPPED),
    Case("unschedulable-then-freed", "exit 0", "Succeeded", (OK,), {"resources": {"requests": {"cpu": "1100m"}}},
         act=free_the_node, conditions={"CapacityAvailable": ("True", "Scheduled")}, also=waited_for_capacity,
         events="Accepted Started Stopping Returned( Resumed Stopping Returned)* Resumed Succeeded"),
    *(Case(f"order-{number}", "sleep 8", "Succeeded", (OK,), queue="order") for number in (1, 2, 3)),
    Case("raised-while-queued", "sleep 8", "Succeeded", (OK,), {"priority": "LOW"}, queue="order",
         act=resume_with_a_raised_priority, also=comes_first_and_limits_are_obeyed),
)  # fmt: skip


async def make_queues(stage: Stage, results: Path) -> None:
    """The queue that most jobs share, and those whose worker, mode or limit differs."""
    await stage.block_cpu("blocker", "1100m")
    capacity = {"unschedulableSeconds": 2, "probeSeconds": 2}
    short = {"maxRetries": 1, "retryDelaysSeconds": [1], "startDeadlineSeconds": 5, "capacity": capacity}
    environment = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "key"}}}]
    await stage.queue("work", maxConcurrentJobs=20, results={"url": f"file://{results}"}, **short)
    await stage.queue("held", mode="Paused")
    await stage.queue("order", mode="Paused", maxConcurrentJobs=1)
    broken: dict[str, JsonObject] = {
        "no-image": {"image": "127.0.0.1:1/absent:1"},
        "no-name": {"image": "UPPER::bad"},
        "no-secret": {"env": environment},
        "no-program": {"command": ["/no/such/program"]},
    }
    for name, container in broken.items():
        await stage.queue(name, workerTemplate=worker_template(container), **short)


async def play(stage: Stage, results: Path) -> None:
    """Submit all cases, do to each what has to be done, and wait until all are finished and told."""
    await make_queues(stage, results)
    for case in CASES:
        await stage.submit(case.name, case.queue, case.script, **case.spec)
    await asyncio.gather(*(act(stage, case) for case in CASES))
    with suppress(NeverHappened):  # each case says by itself what is missing
        await stage.until(lambda: all(stage.finished(case.name) for case in CASES), "all cases are finished")
        # Events come later than what they tell of.
        await stage.until(lambda: all(told(stage, case) for case in CASES), "all is told in events", EVENT_SECONDS)


async def act(stage: Stage, case: Case) -> None:
    """Do what has to be done; what goes wrong is this case's alone."""
    try:
        if case.act is not None:
            await case.act(stage, case.name)
    except Exception as error:
        stage.problems[case.name] = error


def told(stage: Stage, case: Case) -> bool:
    """Whether its events tell what happened to a case."""
    told = (reason for reason in stage.event_reasons(case.name) if reason not in TIMING)
    return re.fullmatch(case.events, " ".join(told)) is not None


# --- the tests ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A node with an image that has sh and python3; the reference worker's will do, however old it is."""
    if not ARCHIVE.exists():
        subprocess.run([ROOT / "hack" / "images" / "build.sh"], check=True, capture_output=True)
    made = Cluster("lifecycle-test")
    try:
        made.up()
        made.load_image(ARCHIVE)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def batch(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage after the batch has been played on it."""

    folder = tmp_path_factory.mktemp("lifecycle")
    (folder / "results").mkdir()

    async def run() -> Stage:
        async with on_stage(cluster, "lifecycle", ROOT / "crds", folder) as stage:
            await play(stage, folder / "results")
            return stage

    return asyncio.run(run())


@pytest.fixture(scope="module")
def passed(figures: Callable[[str], None]) -> Iterator[list[str]]:
    """Cases that passed so far, counted for the suite's last line."""
    names: list[str] = []
    yield names
    figures(f"lifecycle: {len(names)} of {len(CASES) + 1} cases passed")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_status_tells_what_happened(batch: Stage, passed: list[str], case: Case) -> None:
    status = batch.status(case.name)
    shown = json.dumps({"status": status, "pods": [pod["status"] for pod in batch.made_for(case.name, "Pod")]})
    assert case.name not in batch.problems, batch.problems[case.name]
    assert status["phase"] == case.phase, shown
    assert list(case.attempts) == status.get("attempts", []), shown
    assert status["attempt"] == len(case.attempts)
    assert (status["retries"], status["infrastructureLosses"]) == (case.retries, case.losses)
    expected = case.conditions | {"Finished": ("True", case.finished or case.phase)}
    assert {kind: condition(status, kind) for kind in expected} == expected
    assert case.also(batch, case.name), shown
    assert told(batch, case), batch.event_reasons(case.name)
    passed.append(case.name)


def test_a_job_on_a_node_that_died_runs_again(
    cluster: Cluster, passed: list[str], tmp_path: Path, batch: Stage
) -> None:
    """The kubelet is killed: Kubernetes deletes the pod, nobody answers, and the operator ends it by itself."""
    unreachable = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    template = worker_template(spec={"tolerations": [unreachable | {"key": key} for key in keys]})

    async def run() -> JsonObject:
        async with on_stage(cluster, "node-lost", ROOT / "crds", tmp_path) as stage, second_node(stage.client):
            await stage.queue("work", workerTemplate=template, nodeLost={"seconds": 10, "release": True})
            await stage.submit("victim", "work", FIRST % SLEEP)
            await stage.until_running("victim")
            cluster.kill("kubelet")
            await stage.until(lambda: stage.status("victim").get("infrastructureLosses") == 1, "the loss is seen")
            cluster.start("kubelet")
            await stage.until(lambda: stage.finished("victim"), "the next attempt is done")
            return stage.status("victim")

    status = asyncio.run(run())
    assert status["phase"] == "Succeeded"
    # A node that has just come back may take the next pod and evict it at once: its taints go one after the other.
    lost, *evicted, last = status["attempts"]
    assert [failed("Infrastructure", "NodeLost"), OK] == [lost, last], status
    assert all(attempt["failureClass"] == "Infrastructure" for attempt in evicted), status
    assert status["retries"] == 0, status
    passed.append("node-died")
