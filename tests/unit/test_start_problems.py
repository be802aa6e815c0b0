"""What keeps a pod from its node, or its containers from starting: read from the pod, one row a case."""

from datetime import UTC, datetime
from typing import Any

import pytest

from klipstream_operator.failures import missing_resources, start_problem
from klipstream_operator.workload import PodView, view_pod

NOW = datetime(2026, 1, 2, 3, 10, tzinfo=UTC)
CREATED, SCHEDULED = "2026-01-02T03:00:00Z", "2026-01-02T03:04:05Z"
UID = "0b8f3c1e-0000-4000-8000-000000000001"
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": SCHEDULED}


def pod(*, condition: dict[str, Any] | None = None, **status: Any) -> PodView:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": SCHEDULED}
    seen = view_pod({
        "metadata": {
            "uid": "p1", "name": "p", "namespace": "n", "resourceVersion": "4", "creationTimestamp": CREATED,
            "labels": {"analysis.klipstream.io/job-uid": UID, "analysis.klipstream.io/attempt": "1"},
        },
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Pending", "conditions": [condition or scheduled]} | status,
    })  # fmt: skip
    assert seen is not None
    return seen


def waiting(reason: str, message: str = "", name: str = "worker") -> list[dict[str, Any]]:
    return [{"name": name, "state": {"waiting": {"reason": reason} | ({"message": message} if message else {})}}]


@pytest.mark.parametrize(
    ("reason", "hopeless", "advice"),
    [
        ("ErrImagePull", False, "pull secret"),
        ("ImagePullBackOff", False, "pull secret"),
        ("ImageInspectError", False, "pull secret"),
        ("RegistryUnavailable", False, "registry"),
        ("SignatureValidationFailed", False, "Sign"),
        ("InvalidImageName", True, "Correct the image's name"),
        ("ErrImageNeverPull", True, "change the policy"),
        ("CreateContainerConfigError", False, "Secrets and ConfigMaps"),
        ("CreateContainerError", False, "command"),
        ("RunContainerError", False, "command"),
        ("CreatePodSandboxError", False, "command"),
    ],
)
def test_a_container_that_cannot_start_is_a_problem_with_a_remedy(reason: str, hopeless: bool, advice: str) -> None:
    problem = start_problem(pod(containerStatuses=waiting(reason, "so says the kubelet")), NOW)
    assert problem is not None
    assert (problem.reason, problem.hopeless) == (reason, hopeless)
    assert problem.message.startswith(f"Container worker does not start on node node-1: {reason}: so says the kubelet.")
    assert advice in problem.message


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_container_that_is_being_created_is_no_problem(reason: str) -> None:
    assert start_problem(pod(containerStatuses=waiting(reason)), NOW) is None


def test_a_pod_without_a_node_or_with_running_containers_has_no_start_problem() -> None:
    assert start_problem(pod(condition=UNSCHEDULABLE), NOW) is None
    running = [{"name": "worker", "state": {"running": {"startedAt": SCHEDULED}}}]
    assert start_problem(pod(phase="Running", containerStatuses=running), NOW) is None


def test_an_init_container_holds_the_pod_up_as_well() -> None:
    init, worker = waiting("ImagePullBackOff", name="fetch"), waiting("PodInitializing")
    problem = start_problem(pod(initContainerStatuses=init, containerStatuses=worker), NOW)
    assert problem is not None
    assert problem.message.startswith("Container fetch does not start on node node-1: ImagePullBackOff. Check")


def test_a_start_problem_counts_from_the_moment_the_pod_had_its_node() -> None:
    stuck = waiting("ErrImagePull")
    problem = start_problem(pod(containerStatuses=stuck), NOW)
    assert problem is not None
    assert problem.since == datetime.fromisoformat(SCHEDULED)
    unknown = start_problem(pod(containerStatuses=stuck, conditions=[]), NOW)
    assert unknown is not None
    assert unknown.since == datetime.fromisoformat(CREATED)


def test_a_long_message_of_the_kubelet_leaves_room_for_the_remedy() -> None:
    problem = start_problem(pod(containerStatuses=waiting("ErrImagePull", "x" * 4000)), NOW)
    assert problem is not None
    assert len(problem.message) <= 1024
    assert problem.message.endswith("pull secret in the queue's workerTemplate.")


def test_the_scheduler_says_since_when_there_is_no_node() -> None:
    seen = pod(condition=UNSCHEDULABLE | {"message": "0/1 nodes are available: 1 Insufficient cpu."})
    assert seen.unschedulable_since == datetime.fromisoformat(SCHEDULED)
    assert seen.scheduled_at is None
    placed = pod()
    assert (placed.scheduled_at, placed.unschedulable_since) == (datetime.fromisoformat(SCHEDULED), None)


NONE = "0/1 nodes are available: "
NO_PREEMPTION = (
    " no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
)


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        (NONE + "1 Insufficient cpu, 1 Insufficient memory." + NO_PREEMPTION, ("cpu", "memory")),
        ("0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) had untolerated taint(s)."
         " preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.",
         ("nvidia.com/gpu", "taints")),
        (NONE + "1 Insufficient ephemeral-storage.", ("ephemeral-storage",)),
        (NONE + "1 Insufficient example.com/X.", ("example.com/X",)),
        (NONE + "1 Too many pods.", ("pods",)),
        (NONE + "1 node(s) didn't match Pod's node affinity/selector.", ("node affinity",)),
        (NONE + "1 node(s) had untolerated taint {gpu: true}.", ("taints",)),
        (NONE + "1 node(s) were unschedulable.", ("schedulable nodes",)),
        (NONE + "1 node(s) didn't match PersistentVolume's node affinity.", ("volume",)),
        (NONE + 'persistentvolumeclaim "results" not found. preemption: 0/1 nodes are available: 1 Preemption is not'
         " helpful for scheduling.", ("volume",)),
        (NONE + "pod has unbound immediate PersistentVolumeClaims.", ("volume",)),
        (NONE + "1 node(s) didn't match pod anti-affinity rules.", ("pod affinity",)),
        (NONE + "1 node(s) didn't match pod topology spread constraints (missing required label).",
         ("topology spread",)),
        (NONE + "1 node(s) didn't have free ports for the requested pod ports.", ("ports",)),
        (NONE + "1 cannot allocate all claims.", ("devices",)),
        ("no nodes available to schedule pods", ("schedulable nodes",)),
        ("", ()),
        (NONE + "1 something that no scheduler says today." + NO_PREEMPTION, ()),
    ],
)  # fmt: skip
def test_the_schedulers_message_names_what_is_missing(message: str, missing: tuple[str, ...]) -> None:
    assert missing_resources(message) == missing


def test_what_is_missing_fits_into_the_queues_status() -> None:
    many = NONE + ", ".join(f"1 Insufficient {'x' * 80}.example.com/{number}" for number in range(12)) + "."
    named = missing_resources(many)
    assert all(len(name) <= 64 for name in named)
    assert len(missing_resources(NONE + ", ".join(f"1 Insufficient r{n}" for n in range(12)))) == 8
