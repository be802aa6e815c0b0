"""Rolling restarts, and other numbers of shards, of the operator on a real node: gaps, and what workers notice."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from klipcluster import Cluster
from klipcluster.tools import tools_folder
from klipfake.processes import Operator
from klipfake.replicas import Replicas
from klipfake.world import World, job
from klipstream_operator.sharding import Shard

pytestmark = [pytest.mark.node, pytest.mark.sweep, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "klipstream"
IMAGE = "localhost/klipstream-operator:dev"
JOBS, SLOTS = 60, 3
GENEROUS_SECONDS = 30.0
# Posts a checkpoint four times a second through the Service, as workers do, and logs what came of it.
WORKER = r"""
import json, os, ssl, time, urllib.error, urllib.request
env = os.environ
context = ssl.create_default_context(cafile=env["ANALYSIS_CA_FILE"])
answered, refused = 0, []
for number in range(1, 9):
    body = json.dumps({"percentage": number * 10, "stage": "Analyzing", "checkpoint": str(number)}).encode()
    token = open(env["ANALYSIS_TOKEN_FILE"]).read().strip()
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(env["ANALYSIS_PROGRESS_URL"], body, headers),
                                    context=context, timeout=6):
            answered = number
    except (urllib.error.URLError, OSError) as error:
        refused.append(str(error))
    time.sleep(0.25)
print("POSTS", json.dumps({"answered": answered, "refused": refused}), flush=True)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A node with the operator's image as it is now."""
    subprocess.run([ROOT / "hack" / "images" / "build.sh", "operator"], check=True, capture_output=True)
    made = Cluster("rollout-test")
    try:
        made.up(audit=True)
        made.load_image(ROOT / "build" / "images" / "operator.tar")
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def tool(cluster: Cluster) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    environment = os.environ | {"KUBECONFIG": str(cluster.running().kubeconfig)}

    def run(name: str, *arguments: str, stdin: str | None = None, check: bool = True) -> Any:
        done = subprocess.run([str(tools_folder() / name), *arguments], env=environment, input=stdin,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert not check or done.returncode == 0, f"{name} {' '.join(arguments)}: {done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def group(cluster: Cluster, tool: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Replicas:
    """The chart installed with its two replicas, and a queue whose workers post."""
    folder = tmp_path_factory.mktemp("rollout")
    (folder / "unused.log").touch()
    settings = {
        "operator.image.tag": "dev", "operator.logFormat": "plain", "defaultQueue.create": "false",
        "results.persistence.enabled": "false", "operator.archiveLogs": "false", "relay.enabled": "false",
    }  # fmt: skip
    values = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    tool(
        "helm",
        "install",
        "klipstream",
        str(ROOT / "charts" / "klipstream"),
        "-n",
        NAMESPACE,
        "--create-namespace",
        *values,
    )
    tool("kubectl", "-n", NAMESPACE, "rollout", "status", "deployment/klipstream-operator", "--timeout=180s")
    running = cluster.running()
    unused = Operator(running.kubeconfig, folder / "unused.log", NAMESPACE)
    world = World(lambda *arguments, **more: tool("kubectl", *arguments, **more), NAMESPACE, unused)
    container = {"name": "worker", "image": IMAGE, "command": ["python3", "-c", WORKER]}
    world.queue(maxConcurrentJobs=SLOTS, maxQueueSize=1000, workerTemplate={"spec": {"containers": [container]}})
    assert running.audit_log is not None
    return Replicas(world, running.kubeconfig, folder, running.audit_log)


def handover_seconds(group: Replicas, since: float) -> list[float]:
    """From the release of the Lease by one replica, its last write of it, to its taking by the next."""
    writes = [write for write in group.writes() if write.resource == "leases" and write.received > since]
    pairs = itertools.pairwise(writes)
    return [later.received - earlier.received for earlier, later in pairs if earlier.sender != later.sender]


def posts_of(world: World, queue: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What the workers of a queue's jobs say of their posts, and the jobs of which a taken checkpoint is missing."""
    posts, lost = [], []
    for item in world.items("aj"):
        if item["status"]["queueName"] != queue:
            continue
        assert item["status"]["attempt"] == 1
        name = item["status"]["attempts"][0]["jobName"]
        said = re.search(r"^POSTS (.*)$", world.kubectl("logs", f"job/{name}"), re.MULTILINE)
        assert said is not None
        posts.append(json.loads(said.group(1)))
        if int(item["status"]["progress"]["checkpoint"]) < posts[-1]["answered"]:
            lost.append(item["metadata"]["name"])
    return posts, lost


def divide(tool: Callable[..., Any], shards: int) -> None:
    """Upgrade to that many shards, and wait until their replicas are ready."""
    chart = str(ROOT / "charts" / "klipstream")
    tool(
        "helm", "upgrade", "klipstream", chart, "-n", NAMESPACE, "--reuse-values", "--set", f"operator.shards={shards}"
    )
    names = ["klipstream-operator"] if shards == 1 else [f"klipstream-operator-{n}" for n in range(shards)]
    for name in names:
        tool("kubectl", "-n", NAMESPACE, "rollout", "status", f"deployment/{name}", "--timeout=180s")


def test_a_rolling_restart_leaves_no_gap_and_loses_no_checkpoint(
    group: Replicas, tool: Callable[..., Any], figures: Callable[[str], None]
) -> None:
    world = group.world
    world.apply(*(job(f"job-{n:02d}") for n in range(JOBS)))
    world.until(lambda: len(group.reservations()) > 8, "slots are being reserved")
    before, began = group.leader(), time.time()
    tool("kubectl", "-n", NAMESPACE, "rollout", "restart", "deployment/klipstream-operator")
    tool("kubectl", "-n", NAMESPACE, "rollout", "status", "deployment/klipstream-operator", "--timeout=180s")
    ended = time.time()
    world.until(lambda: group.leader() not in (None, before), "another leads")
    deadline = time.monotonic() + 300
    while set(world.phases().values()) != {"Succeeded"}:
        assert time.monotonic() < deadline, world.phases()
        time.sleep(1)

    moments = group.reservations()
    pauses = [(later - earlier, later) for earlier, later in itertools.pairwise(moments)]
    during = max((pause for pause, at in pauses if began < at < ended), default=0.0)
    otherwise = max(pause for pause, at in pauses if not began < at < ended)
    handovers = handover_seconds(group, began)
    posts, lost = posts_of(world, "default")
    refused = [error for each in posts for error in each["refused"]]
    leaders = {write.sender for write in group.writes() if write.resource == "analysisqueues"}
    figures(
        f"rollout: {ended - began:.1f} s for two replicas, {len(leaders)} leaders, Lease released and taken in"
        f" {', '.join(f'{each:.2f}' for each in handovers)} s; longest pause in reservations {during:.1f} s"
        f" (otherwise {otherwise:.1f} s); {len(posts) * 8} posts, {len(refused)} to be posted again"
        f" {sorted(set(refused))}, {len(lost)} checkpoints lost"
    )
    assert lost == []
    assert during < GENEROUS_SECONDS
    restarts = world.kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
    assert set(restarts.split()) == {"0"}


def test_a_frozen_leader_is_succeeded_and_its_container_restarted(
    group: Replicas, tool: Callable[..., Any], figures: Callable[[str], None]
) -> None:
    world, frozen = group.world, group.leader()
    assert frozen is not None
    uid = world.kubectl("get", "pod", frozen, "-o", "jsonpath={.metadata.uid}")
    os.kill(operator_pid(uid), signal.SIGSTOP)
    began = time.monotonic()
    world.until(lambda: group.leader() not in (None, frozen), "another leads")
    led = time.monotonic() - began
    restarts = ["get", "pod", frozen, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]
    deadline = time.monotonic() + 180
    while world.kubectl(*restarts) != "1":
        assert time.monotonic() < deadline, "the kubelet does not restart it"
        time.sleep(1)
    restarted = time.monotonic() - began
    tool("kubectl", "-n", NAMESPACE, "wait", f"pod/{frozen}", "--for=condition=Ready", "--timeout=120s")
    assert group.leader() != frozen, "it stands by"
    figures(f"frozen leader: another led after {led:.1f} s, the kubelet restarted it after {restarted:.1f} s")


def operator_pid(pod_uid: str) -> int:
    """The operator's process of a pod, as this machine sees it."""
    wanted = (pod_uid, pod_uid.replace("-", "_"))
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups, command = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"klipstream_operator" in command and any(each in groups for each in wanted):
            return int(folder.name)
    raise AssertionError(f"no process of pod {pod_uid}")


def test_one_operator_becomes_two_shards_and_one_again(
    group: Replicas, tool: Callable[..., Any], figures: Callable[[str], None]
) -> None:
    """With jobs in a queue of each shard all the while, whose workers post to whichever replica they are given."""
    world = group.world
    template = world.get("aq", "default")["spec"]["workerTemplate"]
    names = [next(name for n in range(100) if Shard(number, 2).covers((NAMESPACE, name := f"queue-{n}")))
             for number in range(2)]  # fmt: skip
    for name in names:
        world.queue(name, maxConcurrentJobs=2, maxQueueSize=1000, workerTemplate=template)
    world.apply(*(job(f"{name}-job-{n:02d}", queueName=name) for name in names for n in range(15)))
    changes = []
    for shards in (2, 1):
        began = time.time()
        divide(tool, shards)
        world.until(lambda began=began: max(group.reservations(), default=0.0) > began, "slots are being reserved")
        pauses = [later - earlier for earlier, later in itertools.pairwise(group.reservations()) if later > began]
        changes.append(f"{shards} after {time.time() - began:.0f} s, longest pause in reservations {max(pauses):.1f} s")
        # Some that begin under the new leaders as well.
        world.apply(*(job(f"{name}-of-{shards}-{n}", queueName=name) for name in names for n in range(3)))
        world.until(lambda began=began: _under_new_leaders(group, names, began), "both queues have new leaders")
    deadline = time.monotonic() + 300
    while set(world.phases().values()) != {"Succeeded"}:
        assert time.monotonic() < deadline, world.phases()
        time.sleep(1)
    found = [posts_of(world, name) for name in names]
    posts, lost = [each for posts, _ in found for each in posts], [each for _, lost in found for each in lost]
    refused = [error for each in posts for error in each["refused"]]
    figures(f"shards: {'; '.join(changes)}; {len(posts) * 8} posts, {len(refused)} to be posted again"
            f" {sorted(set(refused))}, {len(lost)} checkpoints lost")  # fmt: skip
    assert lost == []
    assert len(posts) == 2 * (15 + 3 + 3)


def _under_new_leaders(group: Replicas, names: list[str], since: float) -> bool:
    """Whether each queue was written by somebody who did not write it before that moment."""
    writes = [write for write in group.writes() if write.resource == "analysisqueues"]
    return all(
        {write.sender for write in writes if write.name == name and write.received > since}
        - {write.sender for write in writes if write.name == name and write.received <= since}
        for name in names
    )
