"""What is read of Jobs and pods, field by field, and when an attempt counts as over."""

from datetime import UTC, datetime
from typing import Any

import pytest

from klipfake.objects import SUSPENDED, UID, ended, kube_job, pod, view
from klipstream_operator.workload import (
    AttemptView,
    JobView,
    PodView,
    Termination,
    Waiting,
    attempt_key,
    view_job,
    view_pod,
)

GROUP = "analysis.klipstream.io"
LABELS = {f"{GROUP}/job-uid": UID, f"{GROUP}/attempt": "2"}
OWNERS = [{"uid": "other"}, {"uid": "owner", "controller": True}]


def moment(second: int) -> datetime:
    return datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC)


def wire(second: int) -> str:
    return f"2026-01-02T03:04:{second:02}Z"


@pytest.mark.parametrize(
    ("rule", "labels", "key"),
    [
        ("ours", LABELS, (UID, 2)),
        ("no labels", None, None),
        ("no attempt", {f"{GROUP}/job-uid": UID}, None),
        ("no job", {f"{GROUP}/attempt": "2"}, None),
        ("an attempt that is no number", LABELS | {f"{GROUP}/attempt": "-1"}, None),
    ],
)
def test_only_what_carries_our_labels_is_ours(rule: str, labels: Any, key: tuple[str, int] | None) -> None:
    metadata = {"uid": "x", "name": "x", "namespace": "n", "resourceVersion": "4", "labels": labels}
    assert attempt_key(metadata) == key, rule
    assert (view_job({"metadata": metadata, "spec": {}}) is not None) == (key is not None)
    assert (view_pod({"metadata": metadata, "spec": {}}) is not None) == (key is not None)


def metadata(**changes: Any) -> dict[str, Any]:
    values = {"uid": "x1", "name": "x", "namespace": "n", "resourceVersion": "42", "labels": LABELS}
    return values | {"ownerReferences": OWNERS} | changes


def test_a_job_is_read_whole() -> None:
    annotations = {f"{GROUP}/template": "digest", f"{GROUP}/fenced": ""}
    conditions = [
        {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"},
        {"type": "Suspended", "status": "False", "reason": "JobResumed"},
        {"type": "Complete", "status": "True"},
    ]
    seen = view_job({
        "metadata": metadata(annotations=annotations), "spec": {"suspend": True},
        "status": {"active": 1, "terminating": 2, "conditions": conditions},
    })  # fmt: skip
    assert seen == JobView(
        uid="x1", name="x", namespace="n", resource_version=42, job_uid=UID, attempt=2, owner_uid="owner",
        suspend=True, pods_left=3, conditions={"Failed": "DeadlineExceeded", "Complete": ""}, template="digest",
        fenced=True,
    )  # fmt: skip


def test_a_job_that_was_just_created_is_read_too() -> None:
    expected = JobView(
        uid="x1", name="x", namespace="n", resource_version=42, job_uid=UID, attempt=2, owner_uid="", suspend=False,
        pods_left=0,
    )  # fmt: skip
    bare = metadata(ownerReferences=[{"uid": "not its controller"}])
    assert view_job({"metadata": bare, "spec": {}}) == expected
    del bare["ownerReferences"]
    assert view_job({"metadata": bare, "spec": {}, "status": {"terminating": None}}) == expected


BARE = PodView(
    uid="x1", name="x", namespace="n", resource_version=42, job_uid=UID, attempt=2, owner_uid="owner", phase="Pending",
    reason="", message="", deleted_at=None, node_name="", running_since=None, termination=None, disruption=None,
    unschedulable=None, never_ran=True,
)  # fmt: skip


def read(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **changes: Any) -> PodView:
    seen = view_pod({"metadata": metadata(**changes), "spec": spec or {}, "status": status})
    assert seen is not None
    return seen


def changed(seen: PodView) -> dict[str, Any]:
    """The fields in which it differs from a pod of which nothing is known."""
    names = PodView.__dataclass_fields__
    return {name: getattr(seen, name) for name in names if getattr(seen, name) != getattr(BARE, name)}


def condition(type_: str, status: str = "True", **more: str) -> dict[str, Any]:
    return {"conditions": [{"type": type_, "status": status, "lastTransitionTime": wire(7)} | more]}


def container(state: dict[str, Any], name: str = "worker", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state} | more


def terminated(code: int = 1, second: int = 9, **more: str) -> dict[str, Any]:
    said = {"exitCode": code, "reason": "Error", "message": "m", "finishedAt": wire(second)} | more
    return {"terminated": said}


RUNS = {"running": {"startedAt": wire(8)}}
DIED = Termination(1, "Error", "m", "worker", moment(9))
FETCH_DIED = Termination(1, "Error", "m", "fetch", moment(9))


@pytest.mark.parametrize(
    ("rule", "spec", "status", "metadata_of", "expected"),
    [
        ("one just created", {}, None, {}, {}),
        ("its node and its time limit", {"nodeName": "n1", "activeDeadlineSeconds": 60}, {}, {},
         {"node_name": "n1", "deadline_seconds": 60}),
        ("what befell it", {}, {"phase": "Failed", "reason": "Evicted", "message": "m"}, {},
         {"phase": "Failed", "reason": "Evicted", "message": "m"}),
        ("when it was created", {}, {}, {"creationTimestamp": wire(1)}, {"created_at": moment(1)}),
        ("when it goes, and when that was asked for", {}, {},
         {"deletionTimestamp": wire(40), "deletionGracePeriodSeconds": 30},
         {"deleted_at": moment(40), "deletion_requested_at": moment(10)}),
        ("a deletion without grace", {}, {}, {"deletionTimestamp": wire(40)},
         {"deleted_at": moment(40), "deletion_requested_at": moment(40)}),
        ("a node was found", {}, condition("PodScheduled"), {}, {"scheduled_at": moment(7)}),
        ("none was found", {}, condition("PodScheduled", "False", reason="Unschedulable", message="0/1 nodes"), {},
         {"unschedulable": "0/1 nodes", "unschedulable_since": moment(7)}),
        ("without a word", {}, condition("PodScheduled", "False", reason="Unschedulable"), {},
         {"unschedulable": "", "unschedulable_since": moment(7)}),
        ("gated, which is something else", {}, condition("PodScheduled", "False", reason="SchedulingGated"), {}, {}),
        ("a disruption", {}, condition("DisruptionTarget", reason="EvictionByEvictionAPI", message="m"), {},
         {"disruption": "EvictionByEvictionAPI", "disruption_message": "m", "disrupted_at": moment(7)}),
        ("one without a reason", {}, condition("DisruptionTarget"), {},
         {"disruption": "DisruptionTarget", "disrupted_at": moment(7)}),
        ("one that is taken back", {}, condition("DisruptionTarget", "False", reason="R", message="m"), {}, {}),
        ("a worker that runs", {}, {"phase": "Running", "startTime": wire(2), "containerStatuses": [container(RUNS)]},
         {}, {"phase": "Running", "running_since": moment(8), "never_ran": False}),
        ("one whose start is not told runs since the pod's", {}, {"phase": "Running", "startTime": wire(2)}, {},
         {"phase": "Running", "running_since": moment(2)}),
        ("a pod that pulls images does not run", {}, {"phase": "Pending", "startTime": wire(2)}, {}, {}),
        ("the worker is not always first", {},
         {"containerStatuses": [container({}, "beside"), container(RUNS)]}, {},
         {"running_since": moment(8), "never_ran": False}),
        ("without its name the first one is the worker", {},
         {"containerStatuses": [container(RUNS, "w"), container({}, "beside")]}, {},
         {"running_since": moment(8), "never_ran": False}),
        ("a worker that ended", {}, {"containerStatuses": [container(terminated())]}, {},
         {"termination": DIED, "never_ran": False}),
        ("one of which little is told", {}, {"containerStatuses": [container({"terminated": {}})]}, {},
         {"termination": Termination(0, "", ""), "never_ran": False}),
        ("containers that wait, init containers first", {},
         {"containerStatuses": [container({"waiting": {"reason": "PodInitializing"}})],
          "initContainerStatuses": [container({"waiting": {"reason": "ErrImagePull", "message": "m"}}, "fetch")]}, {},
         {"waiting": (Waiting("fetch", "ErrImagePull", "m"), Waiting("worker", "PodInitializing", ""))}),
        ("one that waits without a reason", {}, {"containerStatuses": [container({"waiting": {}})]}, {},
         {"waiting": (Waiting("worker", "", ""),)}),
        ("an init container that failed", {},
         {"initContainerStatuses": [container(terminated(0), "ok"), container(terminated(), "fetch")]}, {},
         {"failed_beside": FETCH_DIED, "never_ran": False}),
        ("a container beside the worker that failed", {},
         {"containerStatuses": [container(RUNS), container(terminated(), "fetch")]}, {},
         {"failed_beside": FETCH_DIED, "running_since": moment(8), "never_ran": False}),
        ("a sidecar decides nothing",
         {"initContainers": [{"name": "fetch", "restartPolicy": "Always"}, {"name": "other"}]},
         {"initContainerStatuses": [container(terminated(), "fetch")]}, {}, {"never_ran": False}),
        ("an init container that is not restarted does", {"initContainers": [{"name": "fetch"}]},
         {"initContainerStatuses": [container(terminated(), "fetch")]}, {},
         {"failed_beside": FETCH_DIED, "never_ran": False}),
        ("a container that could not be started did not run", {},
         {"containerStatuses": [container(terminated(reason="StartError"))]}, {},
         {"termination": Termination(1, "StartError", "m", "worker", moment(9))}),
        ("nor did one of which the kubelet knows nothing", {},
         {"containerStatuses": [container(terminated(reason="ContainerStatusUnknown"))]}, {},
         {"termination": Termination(1, "ContainerStatusUnknown", "m", "worker", moment(9))}),
        ("one that is restarted did run", {},
         {"initContainerStatuses": [container({"waiting": {"reason": "CrashLoopBackOff"}}, "fetch",
                                              lastState=terminated())]}, {},
         {"waiting": (Waiting("fetch", "CrashLoopBackOff", ""),), "never_ran": False}),
    ],
)  # fmt: skip
def test_a_pod_is_read(
    rule: str, spec: dict[str, Any], status: Any, metadata_of: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert changed(read(spec, status, **metadata_of)) == expected, rule


@pytest.mark.parametrize(
    ("phase", "final"), [("Pending", False), ("Running", False), ("Succeeded", True), ("Failed", True)]
)
def test_a_pod_ends_with_its_phase(phase: str, final: bool) -> None:
    assert pod(phase).ended is final
    looks = view(None, pod(phase))
    assert (looks.live_pods == [], looks.ended_pod is not None) == (final, final)


def test_the_culprit_is_the_worker_where_it_failed_and_another_container_where_not() -> None:
    worker, beside = Termination(3, "Error", ""), Termination(4, "Error", "", "beside")
    assert pod(termination=worker, failed_beside=beside).culprit == worker
    assert pod(termination=Termination(0, "Completed", ""), failed_beside=beside).culprit == beside
    assert pod(failed_beside=beside).culprit == beside
    assert pod().culprit is None


@pytest.mark.parametrize(
    ("suspend", "conditions", "pods_left", "expected"),
    [
        (True, {"Suspended": ""}, 0, True),
        (False, {"Suspended": ""}, 0, False),
        (True, {}, 0, False),
        (True, {"Suspended": ""}, 1, False),
    ],
)
def test_suspended_is_what_the_controller_confirms(
    suspend: bool, conditions: dict[str, str], pods_left: int, expected: bool
) -> None:
    assert kube_job(suspend=suspend, conditions=conditions, pods_left=pods_left).suspended is expected


@pytest.mark.parametrize(
    ("rule", "looks", "over", "can_go_on"),
    [
        ("nothing is known", view(), False, False),
        ("a live read found nothing", view(gone=True), True, False),
        ("its Job may still make a pod", view(kube_job()), False, False),
        ("its pod lives", view(kube_job(), pod()), False, False),
        ("its pod ended before the Job's condition", view(kube_job(), ended(1)), True, False),
        ("its Job is complete", view(kube_job(conditions={"Complete": ""})), True, False),
        ("its Job has failed", view(kube_job(conditions={"Failed": ""})), True, False),
        ("its Job is suspended", view(SUSPENDED), True, True),
        ("a pod that lives outweighs the Job", view(SUSPENDED, pod()), False, False),
        ("and a live read that found nothing", view(None, pod(), gone=True), False, False),
        ("one pod of two lives", view(kube_job(), ended(1), pod(uid="p2")), False, False),
        ("it was suspended after its pod ran", view(SUSPENDED, ended(143)), True, False),
    ],
)
def test_an_attempt_is_over(rule: str, looks: AttemptView, over: bool, can_go_on: bool) -> None:
    assert (looks.over, looks.can_go_on) == (over, can_go_on), rule


@pytest.mark.parametrize(
    ("rule", "of", "unseen"),
    [
        ("its Job has failed", AttemptView(kube_job(conditions={"Failed": ""})), True),
        ("its Job is complete", AttemptView(kube_job(conditions={"Complete": ""})), True),
        ("its Job is suspended", AttemptView(SUSPENDED), True),
        ("its Job goes on", AttemptView(kube_job()), False),
        ("a live read found no pod", view(kube_job(conditions={"Failed": ""})), False),
        ("or nothing at all", AttemptView(kube_job(conditions={"Failed": ""}), job_gone=True), False),
        ("its pod's end is known", AttemptView(kube_job(conditions={"Failed": ""}), {"p1": ended(1)}), False),
        ("its pod lives", AttemptView(kube_job(conditions={"Failed": ""}), {"p1": pod()}), False),
        ("nothing is known", AttemptView(), False),
    ],
)
def test_a_jobs_word_may_come_before_its_pods_end(rule: str, of: AttemptView, unseen: bool) -> None:
    assert of.end_unseen is unseen, rule


def test_the_conditions_of_a_job_by_name() -> None:
    of = kube_job(conditions={"Complete": ""})
    assert (of.complete, of.failed, of.over) == (True, False, True)
    of = kube_job(conditions={"Failed": ""})
    assert (of.complete, of.failed, of.over) == (False, True, True)
    assert (SUSPENDED.over, kube_job().over) == (True, False)
