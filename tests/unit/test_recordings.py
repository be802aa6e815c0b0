"""What a real kubelet, scheduler and Job controller wrote, and what the operator makes of it: one row a recording.

The recordings are made by `python -m kliprecord`. Those whose `source` names a file of Kubernetes were put together
from that file, because a node of ours cannot provoke them; one was kept because it can hardly be provoked again.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from klipstream_operator.failures import Failure, classify, missing_resources, start_problem
from klipstream_operator.workload import AttemptView, PodView, view_job, view_pod

FOLDER = Path(__file__).parent / "recordings"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SUCCEEDED = "Succeeded"


@dataclass(frozen=True)
class Fails:
    """An attempt that ends like this; `says` is part of the message."""

    failure_class: str
    reason: str
    exit_code: int | None
    says: str = ""


@dataclass(frozen=True)
class Waits:
    """A pod that is not over: why its containers do not start, and whether waiting is of any use."""

    reason: str
    hopeless: bool
    says: str


@dataclass(frozen=True)
class NoNode:
    """A pod that the scheduler finds no node for."""

    missing: tuple[str, ...]


class Creating:
    """A pod that is not over and whose containers are on their way, as far as its status tells."""


INFRASTRUCTURE = "Infrastructure"

EXPECTED: dict[str, Fails | Waits | NoNode | Creating | str] = {
    "exit-0": SUCCEEDED,
    "exit-0-result": SUCCEEDED,
    "exit-1": Fails("Transient", "Error", 1, "The worker exited with code 1; its log may say why."),
    "exit-retryable": Fails("Transient", "DownloadFailed", 75, "The source said 503."),
    "exit-permanent": Fails("Permanent", "SourceGone", 66, "There is no such video."),
    "exit-plain-text": Fails("Transient", "Error", 1, "Traceback: no more disk in /tmp"),
    "exit-log-as-message": Fails("Transient", "Error", 1, "fatal: cannot decode frame 17"),
    "exit-139": Fails("Transient", "Error", 139, "Segmentation fault"),
    "exit-137-by-itself": Fails("Transient", "Error", 137, "often memory"),
    "exit-143-by-itself": Fails("Transient", "Error", 143, "SIGTERM"),
    "oom": Fails("OutOfMemory", "OOMKilled", 137, "Raise it on the job"),
    "oom-child-137": Fails("OutOfMemory", "OOMKilled", 137),
    "oom-child-1": Fails("OutOfMemory", "OOMKilled", 1),
    "oom-child-0": SUCCEEDED,
    "deadline": Fails("Timeout", "DeadlineExceeded", 137, "timeoutSeconds (3 s)"),
    "deadline-exit-0": Fails("Timeout", "DeadlineExceeded", None, "checkpoints"),
    "deadline-while-mounting": Fails("Timeout", "NeverStarted", None, "no container is known to have run"),
    "deadline-while-pulling": Fails("Timeout", "NeverStarted", None, "Container worker: "),
    "pod-deleted": Fails(INFRASTRUCTURE, "PodDeleted", 137, "No retry is used up."),
    "pod-deleted-exit-143": Fails(INFRASTRUCTURE, "PodDeleted", 143),
    "pod-deleted-exit-130": Fails(INFRASTRUCTURE, "PodDeleted", 130),
    "pod-deleted-exit-0": SUCCEEDED,
    "pod-deleted-pending": Fails(INFRASTRUCTURE, "PodDeleted", None),
    "job-deleted": Fails(INFRASTRUCTURE, "PodDeleted", 137),
    "job-suspended": Fails(INFRASTRUCTURE, "JobSuspended", 137, "suspended by somebody else"),
    "evicted-status-lost": Fails("DiskFull", "Evicted", None, "exceeds the limit"),
    "evicted-empty-dir": Fails("DiskFull", "Evicted", 137, 'Usage of EmptyDir volume "scratch" exceeds the limit'),
    "evicted-ephemeral-storage": Fails("DiskFull", "Evicted", 137, "exceed"),
    "evicted-by-api": Fails(INFRASTRUCTURE, "EvictionByEvictionAPI", 137, "kubectl drain"),
    "image-pull": Waits("ImagePullBackOff", False, "pull secret"),
    "image-name": Waits("InvalidImageName", True, "Correct the image's name"),
    "image-never-pull": Waits("ErrImageNeverPull", True, "load it there"),
    "config-missing-secret": Waits("CreateContainerConfigError", False, 'secret "absent" not found'),
    "config-missing-key": Waits("CreateContainerConfigError", False, "couldn't find key absent"),
    "config-run-as-root": Waits("CreateContainerConfigError", False, "root"),
    "create-error": Waits("CreateContainerError", False, "seccomp"),
    "start-error": Fails("Transient", "StartError", 128, "/no/such/program"),
    "mount-missing-secret": Creating(),
    "init-failed": Fails("Transient", "ContainerFailed", 3, "Container fetch exited with code 3"),
    "init-oom": Fails("OutOfMemory", "OOMKilled", 137, "Container fetch used more memory"),
    "init-image-pull": Waits("ImagePullBackOff", False, "Container fetch does not start"),
    "second-container-failed": Fails("Transient", "ContainerFailed", 2, "Container logger exited with code 2"),
    "worker-failed-second-goes-on": Fails("Transient", "Error", 1),
    "sidecar-failed": SUCCEEDED,
    "worker-and-sidecar-failed": Fails("Transient", "Error", 4),
    "init-failed-beside-sidecar": Fails("Transient", "ContainerFailed", 3, "Container fetch exited with code 3"),
    "rejected-resources": Fails(INFRASTRUCTURE, "OutOfcpu", None, "gave the pod up: Pod was rejected"),
    "rejected-node-selector": Fails(INFRASTRUCTURE, "NodeAffinity", None, "gave the pod up: Pod was rejected"),
    "unschedulable-cpu": NoNode(("cpu",)),
    "unschedulable-memory": NoNode(("memory",)),
    "unschedulable-cpu-memory-gpu": NoNode(("cpu", "example.com/gpu", "memory")),
    "unschedulable-selector": NoNode(("node affinity",)),
    "unschedulable-claim": NoNode(("volume",)),
    "unschedulable-taint": NoNode(("taints",)),
    "preempted": Fails(INFRASTRUCTURE, "PreemptionByScheduler", 137, "higher PriorityClass"),
    "evicted-by-taint": Fails(INFRASTRUCTURE, "DeletionByTaintManager", 137, "NoExecute"),
    "node-lost": Fails(INFRASTRUCTURE, "NodeLost", None, "did not answer"),
    "node-deleted": Fails(INFRASTRUCTURE, "DeletionByPodGC", None, "removed from the cluster"),
    "node-crashed": Fails(INFRASTRUCTURE, "ContainerLost", 255, "restarted or lost"),
    "evicted-memory-pressure": Fails(INFRASTRUCTURE, "TerminationByKubelet", 137, "low on resource: memory"),
    "evicted-disk-pressure": Fails(INFRASTRUCTURE, "TerminationByKubelet", 137, "low on resource"),
    "rejected-after-restart": Fails(INFRASTRUCTURE, "Evicted", 137, "The node had condition: [MemoryPressure]"),
    "rejected-disk-pressure": Fails(INFRASTRUCTURE, "Evicted", None, "gave the pod up: Pod was rejected"),
    "node-shutdown": Fails(INFRASTRUCTURE, "TerminationByKubelet", 137, "imminent node shutdown"),
    "rejected-node-shutdown": Fails(INFRASTRUCTURE, "NodeShutdown", None, "shutting down"),
    "preempted-by-kubelet": Fails(INFRASTRUCTURE, "TerminationByKubelet", 137, "critical pod"),
}


def recording(name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{name}.json").read_text()))


def views(name: str) -> list[AttemptView]:
    """What the operator knows of the attempt after each event, as its store holds it."""
    job, pods, seen = None, {}, []
    for event in recording(name)["events"]:
        uid = event["object"]["metadata"]["uid"]
        if event["kind"] == "Job":
            job = view_job(event["object"]) if event["what"] == "seen" else None
        elif event["what"] == "seen":
            pods[uid] = view_pod(event["object"])
        elif not pods[uid].ended:  # a pod's end is kept: it decides
            del pods[uid]
        seen.append(AttemptView(job=job, pods=dict(pods), job_gone=job is None and not pods and len(seen) > 1))
    return seen


def outcome(view: AttemptView) -> Failure | str:
    pod = view.ended_pod
    return SUCCEEDED if pod is not None and pod.phase == SUCCEEDED else classify(view)


def last_pod(name: str) -> PodView:
    pods = [view_pod(e["object"]) for e in recording(name)["events"] if e["kind"] == "Pod" and e["what"] == "seen"]
    assert pods[-1] is not None
    return pods[-1]


def rows(kind: Any) -> list[Any]:
    return [pytest.param(name, row, id=name) for name, row in EXPECTED.items() if isinstance(row, kind)]


def test_every_recording_has_its_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize(("name", "expected"), rows((Fails, str)))
def test_the_first_moment_that_an_attempt_is_over_tells_how_it_ended(name: str, expected: Fails | str) -> None:
    over = [view for view in views(name) if view.over]
    found = outcome(over[0])
    if isinstance(expected, str):
        assert found == expected
        return
    assert isinstance(found, Failure), found
    assert (found.failure_class.value, found.reason, found.exit_code) == (
        expected.failure_class, expected.reason, expected.exit_code,
    )  # fmt: skip
    assert expected.says in found.message
    assert 0 < len(found.message) <= 1024


@pytest.mark.parametrize(("name", "expected"), rows((Fails, str)))
def test_an_operator_that_comes_later_decides_the_same(name: str, expected: Fails | str) -> None:
    """What a successor finds may have gone on: deleted, garbage-collected, its Job's condition written."""
    found = [outcome(view) for view in views(name) if view.over]
    classes = {each if isinstance(each, str) else each.failure_class.value for each in found}
    assert classes == {expected if isinstance(expected, str) else expected.failure_class}


@pytest.mark.parametrize(("name", "expected"), rows(Waits))
def test_a_container_that_does_not_start_says_why(name: str, expected: Waits) -> None:
    assert not any(view.over for view in views(name))
    pod = last_pod(name)
    problem = start_problem(pod, NOW)
    assert problem is not None
    assert (problem.reason, problem.hopeless) == (expected.reason, expected.hopeless)
    assert expected.says in problem.message
    assert problem.since == pod.scheduled_at


@pytest.mark.parametrize(("name", "expected"), rows(NoNode))
def test_a_pod_without_a_node_says_what_is_missing(name: str, expected: NoNode) -> None:
    assert not any(view.over for view in views(name))
    pod = last_pod(name)
    assert pod.unschedulable is not None
    assert pod.unschedulable_since is not None
    assert tuple(sorted(missing_resources(pod.unschedulable))) == tuple(sorted(expected.missing))
    assert start_problem(pod, NOW) is None


@pytest.mark.parametrize(("name", "expected"), rows(Creating))
def test_volumes_that_are_waited_for_show_in_no_status_and_end_with_the_time_limit(name: str, expected: object) -> None:
    assert not any(view.over for view in views(name))
    assert start_problem(last_pod(name), NOW) is None


@pytest.mark.parametrize("name", ["exit-1", "oom", "init-failed", "sidecar-failed"])
def test_nothing_is_a_start_problem_of_a_pod_that_starts(name: str) -> None:
    for event in recording(name)["events"]:
        if event["kind"] == "Pod" and event["what"] == "seen":
            pod = view_pod(event["object"])
            assert pod is not None
            assert start_problem(pod, NOW) is None


@pytest.mark.parametrize("name", [row.id for row in rows(Fails)])
def test_equal_failures_share_their_fingerprint_whatever_the_node_is_called(name: str) -> None:
    def on(node: str) -> str:
        text = (FOLDER / f"{name}.json").read_text().replace('"nodeName":"local"', f'"nodeName":"{node}"')
        pods = [view_pod(e["object"]) for e in json.loads(text)["events"] if e["kind"] == "Pod" and e["what"] == "seen"]
        failure = classify(AttemptView(pods={"p": pods[-1]}))
        assert isinstance(failure, Failure)
        return failure.fingerprint

    assert len({on(node) for node in ("local", "node-a.example", "pool-17-b.example", "node")}) == 1


def test_a_failure_before_the_pod_was_deleted_is_the_workers_own() -> None:
    """Pods that ended stay with their Job; what befalls them later, a drained node perhaps, changes nothing."""
    pod = last_pod("exit-1")
    assert pod.termination is not None
    ended = pod.termination.finished_at
    assert ended is not None
    later = ended + timedelta(minutes=1)
    for changes in (
        {"deleted_at": later, "deletion_requested_at": later},
        {"disruption": "DeletionByTaintManager", "disrupted_at": later},
    ):
        failure = classify(AttemptView(pods={pod.uid: replace(pod, **changes)}))
        assert (failure.failure_class.value, failure.exit_code) == ("Transient", 1)
    just_then = ended + timedelta(seconds=2)
    failure = classify(AttemptView(pods={pod.uid: replace(pod, deleted_at=later, deletion_requested_at=just_then)}))
    assert failure.failure_class.value == INFRASTRUCTURE
