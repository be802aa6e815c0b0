"""The cases: what the worker does, what is done to it, and what ends the recording."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from klipnode.second_node import second_node
from kliprecord.life import Life, running, unschedulable, waits_with
from kliprecord.recorder import IMAGE, NAMESPACE, Recorder
from klipstream_kube import PODS, AlreadyExists, Resource

JsonObject = dict[str, Any]
Act = Callable[[Recorder, Life], Awaitable[None]]
Done = Callable[[Life], bool]

PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
EAT = "python3 -c \"eaten = [b'x' * 2**20 for _ in range(512)]\""
SAY = "cat > /dev/termination-log << 'END'\n%s\nEND\n"
SLEEP = "exec sleep 600"
"""Ignores SIGTERM, as the first process of a container does that installs no handler."""
OBEY = "trap 'exit %d' TERM; sleep 600 & wait"


@dataclass(frozen=True)
class Case:
    """One recording."""

    name: str
    how: str
    script: str = "exit 0"
    container: JsonObject = field(default_factory=dict)
    spec: JsonObject = field(default_factory=dict)
    timeout_seconds: int = 3600
    prepare: Callable[[Recorder], Awaitable[None]] | None = None
    """What is done before it is launched."""
    act: Act | None = None
    """What is done to the attempt, once it exists."""
    done: Done = field(default=lambda life: life.over)
    undo: Act | None = None
    """What is done once it is recorded, so that the next case finds the node as it was."""

    @property
    def pod_spec(self) -> JsonObject:
        """The worker template's spec."""
        worker = {"name": "worker", "image": IMAGE, "command": ["sh", "-c", self.script]} | self.container
        extra = {key: value for key, value in self.spec.items() if key != "containers"}
        return {
            "terminationGracePeriodSeconds": 2,
            "containers": [worker, *self.spec.get("containers", ())],
        } | extra


def side(name: str, script: str, **more: Any) -> JsonObject:
    """A second container, or an init container."""
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script]} | more


def once_running(act: Act) -> Act:
    """Do it as soon as the worker runs."""

    async def then(recorder: Recorder, life: Life) -> None:
        await life.until(running, "the worker runs")
        await asyncio.sleep(0.5)
        await act(recorder, life)

    return then


async def _delete_pending(recorder: Recorder, life: Life) -> None:
    await life.until(unschedulable, "the pod finds no node")
    await recorder.delete_pod(life)


async def _delete_job(recorder: Recorder, life: Life) -> None:
    await recorder.delete_job(life)


async def _evict(recorder: Recorder, life: Life) -> None:
    await recorder.evict(life)


async def _suspend(recorder: Recorder, life: Life) -> None:
    await recorder.suspend(life)


async def _delete_pod(recorder: Recorder, life: Life) -> None:
    await recorder.delete_pod(life)


def _requests(**amounts: str) -> JsonObject:
    return {"resources": {"requests": amounts}}


def _scratch(limit: str) -> JsonObject:
    return {"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": limit}}]}


def _env_from_secret(name: str, key: str) -> JsonObject:
    return {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]}


_MOUNT = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
_MISSING_SECRET = {"volumes": [{"name": "scratch", "secret": {"secretName": "absent"}}]}
_FILL = f"head -c 40000000 /dev/zero > %s; {SLEEP}"
_BROKEN_SECCOMP = {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "missing.json"}}}

TOGETHER: tuple[Case, ...] = (
    Case("exit-0", "exits with 0"),
    Case("exit-0-result", "exits with 0 and names its result",
         SAY % '{"result_url": "s3://bucket/result.json", "message": "done"}'),
    Case("exit-1", "exits with 1 and says nothing", "exit 1"),
    Case("exit-retryable", "exits with 75, and the termination message says retryable",
         SAY % '{"error_code": "DownloadFailed", "message": "The source said 503.", "retryable": true}' + "exit 75"),
    Case("exit-permanent", "exits with 66, and the termination message says not retryable",
         SAY % '{"error_code": "SourceGone", "message": "There is no such video.", "retryable": false}' + "exit 66"),
    Case("exit-plain-text", "exits with 1 and leaves plain text as termination message",
         SAY % "Traceback: no more disk in /tmp" + "exit 1"),
    Case("exit-log-as-message", "exits with 1; the kubelet takes the end of the log as termination message",
         "echo 'fatal: cannot decode frame 17' >&2; exit 1"),
    Case("exit-139", "is ended by SIGSEGV", "sh -c 'kill -SEGV $$$$'; exit $?"),
    Case("exit-137-by-itself", "exits with 137 though nobody killed the container", "exit 137"),
    Case("exit-143-by-itself", "exits with 143 though nobody stopped the pod", "exit 143"),
    Case("oom", "the worker itself uses more memory than its limit", f"exec {EAT}",
         {"resources": {"limits": {"memory": "64Mi"}}}),
    Case("oom-child-137", "a child uses more memory than the limit, and the worker passes its exit code on",
         f"{EAT}; exit $?", {"resources": {"limits": {"memory": "64Mi"}}}),
    Case("oom-child-1", "a child uses more memory than the limit, and the worker exits with 1", f"{EAT}; exit 1",
         {"resources": {"limits": {"memory": "64Mi"}}}),
    Case("oom-child-0", "a child uses more memory than the limit, and the worker gets on without it", f"{EAT}; exit 0",
         {"resources": {"limits": {"memory": "64Mi"}}}),
    Case("deadline", "runs longer than activeDeadlineSeconds", SLEEP, timeout_seconds=3),
    Case("deadline-exit-0", "exits with 0 when activeDeadlineSeconds ends it", OBEY % 0, timeout_seconds=3),
    Case("deadline-while-mounting", "activeDeadlineSeconds passes while a volume's Secret is missing",
         container=_MOUNT, spec=_MISSING_SECRET, timeout_seconds=6),
    Case("deadline-while-pulling", "activeDeadlineSeconds passes while the image cannot be pulled",
         container={"image": "127.0.0.1:1/absent:1"}, timeout_seconds=6),
    Case("pod-deleted", "the running pod is deleted by hand, and the worker ignores SIGTERM", SLEEP,
         act=once_running(_delete_pod)),
    Case("pod-deleted-exit-143", "the running pod is deleted by hand, and the worker exits with 143", OBEY % 143,
         act=once_running(_delete_pod)),
    Case("pod-deleted-exit-130", "the running pod is deleted by hand, and the worker reports that it was cancelled",
         "stop() {\n" + SAY % '{"error_code": "Cancelled", "message": "The pod is being stopped."}'
         + "exit 130\n}\ntrap stop TERM; sleep 600 & wait", act=once_running(_delete_pod)),
    Case("pod-deleted-exit-0", "the running pod is deleted by hand, and the worker exits with 0", OBEY % 0,
         act=once_running(_delete_pod)),
    Case("pod-deleted-pending", "a pod without a node is deleted by hand", container=_requests(cpu="100"),
         act=_delete_pending),
    Case("job-deleted", "the Job is deleted by hand", SLEEP, act=once_running(_delete_job)),
    Case("job-suspended", "the Job is suspended while its pod runs", SLEEP, act=once_running(_suspend)),
    Case("evicted-empty-dir", "writes more into an emptyDir than its sizeLimit", _FILL % "/scratch/big", _MOUNT,
         _scratch("4Mi")),
    Case("evicted-ephemeral-storage", "writes more into the container than its ephemeral-storage limit",
         _FILL % "/tmp/big", {"resources": {"limits": {"ephemeral-storage": "8Mi"}}}),
    Case("evicted-by-api", "is evicted through the eviction API, as kubectl drain does", SLEEP,
         act=once_running(_evict)),
    Case("image-pull", "the image cannot be pulled", container={"image": "127.0.0.1:1/absent:1"},
         done=waits_with("ImagePullBackOff")),
    Case("image-name", "the image's name is invalid", container={"image": "UPPER::bad"},
         done=waits_with("InvalidImageName")),
    Case("image-never-pull", "the image is absent and imagePullPolicy is Never",
         container={"image": "localhost/absent:1", "imagePullPolicy": "Never"}, done=waits_with("ErrImageNeverPull")),
    Case("config-missing-secret", "the environment names a Secret that is missing",
         container=_env_from_secret("absent", "key"), done=waits_with("CreateContainerConfigError")),
    Case("config-missing-key", "the environment names a key that its Secret lacks",
         container=_env_from_secret("recording", "absent"), done=waits_with("CreateContainerConfigError")),
    Case("config-run-as-root", "the image runs as root and runAsNonRoot forbids it",
         container={"securityContext": {"runAsNonRoot": True, "runAsUser": 0}},
         done=waits_with("CreateContainerConfigError")),
    Case("create-error", "the container names a seccomp profile that the node lacks", container=_BROKEN_SECCOMP,
         done=waits_with("CreateContainerError")),
    Case("start-error", "the command does not exist", container={"command": ["/no/such/program"]}),
    Case("mount-missing-secret", "a volume's Secret is missing", container=_MOUNT, spec=_MISSING_SECRET,
         done=waits_with("ContainerCreating")),
    Case("unschedulable-cpu", "requests more cpu than any node has", container=_requests(cpu="100"),
         done=unschedulable),
    Case("unschedulable-memory", "requests more memory than any node has", container=_requests(memory="10Ti"),
         done=unschedulable),
    Case("unschedulable-cpu-memory-gpu", "requests more than any node has",
         container={"resources": {"limits": {"cpu": "100", "memory": "10Ti", "example.com/gpu": "1"}}},
         done=unschedulable),
    Case("unschedulable-selector", "selects a node that is not there", spec={"nodeSelector": {"disk": "fast"}},
         done=unschedulable),
    Case("unschedulable-claim", "mounts a claim that is not there",
         spec={"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "absent"}}]}, done=unschedulable),
    Case("init-failed", "an init container exits with 3", spec={"initContainers": [side("fetch", "exit 3")]}),
    Case("init-oom", "an init container uses more memory than its limit",
         spec={"initContainers": [side("fetch", f"exec {EAT}", resources={"limits": {"memory": "64Mi"}})]}),
    Case("init-image-pull", "an init container's image cannot be pulled",
         spec={"initContainers": [side("fetch", "exit 0", image="127.0.0.1:1/absent:1")]},
         done=waits_with("ImagePullBackOff")),
    Case("second-container-failed", "the worker exits with 0, a second container with 2",
         spec={"containers": [side("logger", "sleep 1; exit 2")]}),
    Case("worker-failed-second-goes-on", "the worker exits with 1, a second container with 0 two seconds later",
         "exit 1", spec={"containers": [side("logger", "sleep 2; exit 0")]}),
    Case("sidecar-failed", "the worker exits with 0, an init container that is restarted always with 2", "sleep 3",
         spec={"initContainers": [side("proxy", "sleep 2; exit 2", restartPolicy="Always")]}),
    Case("worker-and-sidecar-failed", "the worker exits with 4, an init container that is restarted always with 2",
         "sleep 3; exit 4", spec={"initContainers": [side("proxy", "sleep 2; exit 2", restartPolicy="Always")]}),
    Case("init-failed-beside-sidecar", "an init container exits with 3 while another, always restarted, runs",
         spec={"initContainers": [side("proxy", SLEEP, restartPolicy="Always"), side("fetch", "sleep 1; exit 3")]}),
    Case("rejected-resources", "is bound to a node whose cpu does not suffice; the kubelet does not admit it",
         container=_requests(cpu="100"), spec={"nodeName": "local"}),
    Case("rejected-node-selector", "is bound to a node whose labels do not fit; the kubelet does not admit it",
         spec={"nodeName": "local", "nodeSelector": {"disk": "fast"}}),
)  # fmt: skip
"""Recorded all at once: none disturbs another."""


async def _taint_no_execute(recorder: Recorder, life: Life) -> None:
    await recorder.taint({"key": "recording", "value": "maintenance", "effect": "NoExecute"})


async def _untaint(recorder: Recorder, life: Life) -> None:
    await recorder.taint()


async def _start_winner(recorder: Recorder, **spec: Any) -> None:
    container = side("winner", SLEEP, resources={"requests": {"cpu": "1100m"}})
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0} | spec
    await recorder.client.create(PODS, {"metadata": {"name": "winner"}, "spec": spec}, NAMESPACE)


async def _preempt(recorder: Recorder, life: Life) -> None:
    with suppress(AlreadyExists):
        await recorder.client.create(PRIORITY_CLASSES, {"metadata": {"name": "recording-high"}, "value": 1000})
    await _start_winner(recorder, priorityClassName="recording-high")


async def _preempt_for_critical_pod(recorder: Recorder, life: Life) -> None:
    await _start_winner(recorder, priorityClassName="system-node-critical", nodeName=recorder.node)


async def _remove_winner(recorder: Recorder, life: Life) -> None:
    await recorder.client.delete(PODS, "winner", NAMESPACE)


async def _little_memory_left(recorder: Recorder) -> None:
    await recorder.restart_kubelet_near("memory", 400 * 2**20)


async def _little_disk_left(recorder: Recorder) -> None:
    await recorder.restart_kubelet_near("nodefs", 1500 * 2**20)


async def _restart_under_pressure(recorder: Recorder, life: Life) -> None:
    await recorder.restart_kubelet({"memory.available": "99%"})


async def _disk_pressure(recorder: Recorder) -> None:
    await recorder.restart_kubelet({"nodefs.available": "99%"})
    await recorder.until_node("DiskPressure", "True")


async def _no_pressure(recorder: Recorder, life: Life) -> None:
    await recorder.restart_kubelet({})
    await recorder.until_node("MemoryPressure", "False")
    await recorder.until_node("DiskPressure", "False")
    await recorder.load_images()  # which disk pressure removed


async def _taint_no_schedule(recorder: Recorder) -> None:
    await recorder.taint({"key": "recording", "value": "gpu", "effect": "NoSchedule"})


async def _lose_node(recorder: Recorder, life: Life) -> None:
    async with second_node(recorder.client):
        recorder.cluster.kill("kubelet")
        await life.until(lambda seen: "deletionTimestamp" in seen.pod.get("metadata", {}), "the node's pod is deleted")
        await recorder.end_lost_pod(life)


async def _delete_node(recorder: Recorder, life: Life) -> None:
    recorder.cluster.kill("kubelet")
    await recorder.delete_node()


async def _start_kubelet(recorder: Recorder, life: Life) -> None:
    recorder.cluster.start("kubelet")
    await recorder.until_node("Ready", "True")
    await recorder.taint()


async def _reboot(recorder: Recorder, life: Life) -> None:
    await recorder.crash_node()


_UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}

ALONE: tuple[Case, ...] = (
    Case("unschedulable-taint", "does not tolerate the node's taint", prepare=_taint_no_schedule,
         done=unschedulable, undo=_untaint),
    Case("preempted", "a pod of a higher PriorityClass takes its place", SLEEP, _requests(cpu="1100m"),
         act=once_running(_preempt), undo=_remove_winner),
    Case("preempted-by-kubelet", "a critical pod is bound to its node, and the kubelet makes room for it", SLEEP,
         _requests(cpu="1100m"), act=once_running(_preempt_for_critical_pod), undo=_remove_winner),
    Case("evicted-by-taint", "the node gets a NoExecute taint", SLEEP, act=once_running(_taint_no_execute),
         undo=_untaint),
    Case("node-lost", "the kubelet dies, and the operator ends the pod", SLEEP,
         spec={"tolerations": [_UNREACHABLE | {"tolerationSeconds": 1}]}, act=once_running(_lose_node),
         undo=_start_kubelet),
    Case("node-deleted", "the kubelet dies and the Node is deleted; the pod garbage collector ends the pod", SLEEP,
         act=once_running(_delete_node), undo=_start_kubelet),
    Case("node-crashed", "kubelet, containerd and all containers die at once, as in a crash, and come back", SLEEP,
         act=once_running(_reboot)),
    Case("evicted-memory-pressure", "the node runs short of memory",
         "exec python3 -c \"import time; eaten = [b'x' * 2**20 for _ in range(1200)]; time.sleep(600)\"",
         prepare=_little_memory_left, undo=_no_pressure),
    Case("evicted-disk-pressure", "the node runs short of disk", f"head -c 3000000000 /dev/zero > /tmp/big; {SLEEP}",
         prepare=_little_disk_left, undo=_no_pressure),
    Case("rejected-after-restart", "the kubelet restarts while the node is short of memory and gives a running pod up",
         SLEEP, act=once_running(_restart_under_pressure), undo=_no_pressure),
    Case("rejected-disk-pressure", "the node is short of disk and does not admit the pod", SLEEP,
         spec={"tolerations": [{"operator": "Exists"}]}, prepare=_disk_pressure, undo=_no_pressure),
)  # fmt: skip
"""Recorded one after the other: each changes the node."""
