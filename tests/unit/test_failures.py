"""What an attempt failed of: the rules one by one, in the order in which they win."""

import signal
from datetime import timedelta
from typing import Any

import pytest

from klipfake.objects import NOW, SUSPENDED, ended, kube_job, pod, view
from klipstream_api import FailureClass
from klipstream_operator.failures import (
    Failure,
    WorkerReport,
    classify,
    missing_resources,
    start_problem,
    worker_report,
)
from klipstream_operator.workload import AttemptView, PodView, Termination, Waiting

INFRASTRUCTURE, TRANSIENT, TIMEOUT = FailureClass.INFRASTRUCTURE, FailureClass.TRANSIENT, FailureClass.TIMEOUT


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def died(code: int = 1, reason: str = "Error", message: str = "", **more: Any) -> Termination:
    return Termination(code, reason, message, **more)


def failed(termination: Termination | None = None, **changes: Any) -> PodView:
    return pod("Failed", termination=termination, **changes)


# --- what the worker says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "said", "expected"),
    [
        ("nothing", "", WorkerReport()),
        ("plain text", "  it broke\n", WorkerReport(message="it broke")),
        ("only the end of long text is kept", "x" * 9 + "y" * 1024, WorkerReport(message="y" * 1024)),
        ("JSON that is no object", '["a"]', WorkerReport(message='["a"]')),
        ("long JSON that is no object", f'["{"x" * 2000}"]', WorkerReport(message="x" * 1022 + '"]')),
        ("all of the contract",
         '{"result_url": "s3://b/x", "error_code": "CodecUnknown", "message": "codec 17", "retryable": false}',
         WorkerReport("s3://b/x", "CodecUnknown", "codec 17", False)),
        ("retryable", '{"retryable": true}', WorkerReport(retryable=True)),
        ("values of another type do not count", '{"result_url": 1, "error_code": 2, "message": 3, "retryable": "no"}',
         WorkerReport(message="3")),
        ("a code is one word", '{"error_code": "Codec unknown: 17_a.b-c!"}',
         WorkerReport(error_code="Codecunknown17_a.b-c")),
        ("long values are cut",
         f'{{"result_url": "{"u" * 3000}", "error_code": "{"c" * 99}", "message": "{"m" * 2000}"}}',
         WorkerReport("u" * 2048, "c" * 64, "m" * 1024)),
    ],
)  # fmt: skip
def test_a_termination_message(rule: str, said: str, expected: WorkerReport) -> None:
    assert worker_report(died(message=said)) == expected, rule


def test_a_worker_that_did_not_end_said_nothing() -> None:
    assert worker_report(None) == WorkerReport()


# --- what is made of it ------------------------------------------------------------------------------------------

DISRUPTED = {"disruption": "EvictionByEvictionAPI", "disrupted_at": NOW}
DELETED = {"deletion_requested_at": NOW}
HOPELESS = '{"retryable": false, "error_code": "Corrupt", "message": "No video."}'


@pytest.mark.parametrize(
    ("rule", "looks", "expected"),
    [
        ("a deleted Job", view(gone=True), (INFRASTRUCTURE, "JobDeleted", None, "")),
        ("a Job that failed with its pod gone", view(kube_job(conditions={"Failed": "BackoffLimitExceeded"})),
         (INFRASTRUCTURE, "PodDeleted", None, "")),
        ("one that ran into its time limit", view(kube_job(conditions={"Failed": "DeadlineExceeded"})),
         (TIMEOUT, "DeadlineExceeded", None, "")),
        ("one that somebody else suspended", view(SUSPENDED), (INFRASTRUCTURE, "JobSuspended", None, "")),
        ("whose pod had run", view(SUSPENDED, failed(died(143), **DELETED)),
         (INFRASTRUCTURE, "JobSuspended", 143, "node")),
        ("a deleted pod is not that", view(kube_job(), failed(died(143), **DELETED)),
         (INFRASTRUCTURE, "PodDeleted", 143, "node")),
        ("nor is one whose Job is not known", view(None, failed(died(143), **DELETED)),
         (INFRASTRUCTURE, "PodDeleted", 143, "node")),
        ("a suspended Job whose worker had failed by itself",
         view(SUSPENDED, failed(died(1, finished_at=at(-60)), **DELETED)), (TRANSIENT, "Error", 1, "node")),
        ("a disruption comes first", view(kube_job(), failed(died(1, "OOMKilled"), **DISRUPTED)),
         (INFRASTRUCTURE, "EvictionByEvictionAPI", 1, "node")),
        ("unless the worker had ended well before",
         view(kube_job(), failed(died(1, finished_at=at(-5.5)), **DISRUPTED)), (TRANSIENT, "Error", 1, "node")),
        ("by more than clocks may differ", view(kube_job(), failed(died(1, finished_at=at(-5)), **DISRUPTED)),
         (INFRASTRUCTURE, "EvictionByEvictionAPI", 1, "node")),
        ("when it ended may be unknown", view(kube_job(), failed(died(1, finished_at=at(-60)), disruption="X")),
         (INFRASTRUCTURE, "X", 1, "node")),
        ("the time limit", view(kube_job(), failed(died(137), reason="DeadlineExceeded")),
         (TIMEOUT, "DeadlineExceeded", 137, "node")),
        ("before anything ran", view(kube_job(), failed(reason="DeadlineExceeded", never_ran=True)),
         (TIMEOUT, "NeverStarted", None, "node")),
        ("too much disk", view(kube_job(), failed(died(137), reason="Evicted", message="Pod used too much.")),
         (FailureClass.DISK_FULL, "Evicted", 137, "node")),
        ("a node that is short of it", view(kube_job(), failed(died(137), reason="Evicted",
                                                               message="The node was low on resource: x.")),
         (INFRASTRUCTURE, "Evicted", 137, "node")),
        ("any other word of the kubelet", view(kube_job(), failed(reason="OutOfcpu")),
         (INFRASTRUCTURE, "OutOfcpu", None, "node")),
        ("a pod that was deleted before it ran", view(kube_job(), failed(**DELETED)),
         (INFRASTRUCTURE, "PodDeleted", None, "node")),
        ("one that ended before it ran", view(kube_job(), failed()), (INFRASTRUCTURE, "NeverStarted", None, "node")),
        ("a container that the node lost", view(kube_job(), failed(died(137, "ContainerStatusUnknown"))),
         (INFRASTRUCTURE, "ContainerLost", 137, "node")),
        ("too much memory", view(kube_job(), failed(died(137, "OOMKilled", HOPELESS))),
         (FailureClass.OUT_OF_MEMORY, "OOMKilled", 137, "node")),
        ("what the worker calls hopeless", view(kube_job(), failed(died(4, message=HOPELESS))),
         (FailureClass.PERMANENT, "Corrupt", 4, "node")),
        ("without a code", view(kube_job(), failed(died(4, message='{"retryable": false}'))),
         (FailureClass.PERMANENT, "WorkerError", 4, "node")),
        ("also where its pod is deleted", view(kube_job(), failed(died(4, message=HOPELESS), **DELETED)),
         (FailureClass.PERMANENT, "Corrupt", 4, "node")),
        ("a worker that had failed before its pod was deleted",
         view(kube_job(), failed(died(1, finished_at=at(-60)), **DELETED)), (TRANSIENT, "Error", 1, "node")),
        ("a container that could not be started", view(kube_job(), failed(died(128, "StartError", "no such file."))),
         (TRANSIENT, "StartError", 128, "node")),
        ("or not be run", view(kube_job(), failed(died(127, "ContainerCannotRun"))),
         (TRANSIENT, "StartError", 127, "node")),
        ("a worker's own code", view(kube_job(), failed(died(1, message='{"error_code": "Net"}'))),
         (TRANSIENT, "Net", 1, "node")),
        ("the kubelet's word without one", view(kube_job(), failed(died(1))), (TRANSIENT, "Error", 1, "node")),
        ("or none", view(kube_job(), failed(died(1, ""))), (TRANSIENT, "WorkerError", 1, "node")),
        ("another container", view(kube_job(), failed(failed_beside=died(3, container="fetch"))),
         (TRANSIENT, "ContainerFailed", 3, "node")),
        ("with a code of its own",
         view(kube_job(), failed(failed_beside=died(3, message='{"error_code": "Net"}', container="fetch"))),
         (TRANSIENT, "Net", 3, "node")),
    ],
)  # fmt: skip
def test_an_attempt_failed_of(
    rule: str, looks: AttemptView, expected: tuple[FailureClass, str, int | None, str]
) -> None:
    found = classify(looks)
    assert (found.failure_class, found.reason, found.exit_code, found.node_name) == expected, rule
    assert (" No retry is used up." in found.message) == (found.failure_class is INFRASTRUCTURE)


def message(of: PodView) -> str:
    return classify(view(kube_job(), of)).message


@pytest.mark.parametrize(
    ("rule", "of", "words"),
    [
        ("a drained node is named", failed(**DISRUPTED), "evicted from node node, as"),
        ("a pod without a node too", failed(disruption="DeletionByPodGC", node_name=""), "Node (none) was removed"),
        ("an unknown disruption in the pod's words", failed(disruption="New", message=" so it is "),
         "ended on node node: so it is No retry"),
        ("or in the condition's", failed(disruption="New", disruption_message=" because "), "node node: because No"),
        ("the pod's own come first", failed(disruption="New", message="a", disruption_message="b"), "node: a No retry"),
        ("or by its name", failed(disruption="New"), "ended on node node: New No retry"),
        ("a time limit with its seconds", failed(reason="DeadlineExceeded", deadline_seconds=60),
         "longer than its timeoutSeconds (60 s). Raise"),
        ("or without", failed(reason="DeadlineExceeded"), "longer than its timeoutSeconds. Raise"),
        ("one that passed before anything ran, with what was waited for",
         failed(reason="DeadlineExceeded", never_ran=True, deadline_seconds=60,
                waiting=(Waiting("a", "ErrImagePull", ""), Waiting("b", "PodInitializing", ""))),
         "timeoutSeconds (60 s) passed, and no container is known to have run on node node."
         " Container a: ErrImagePull. Container b: PodInitializing. Check the image"),
        ("an eviction with the kubelet's words", failed(reason="Evicted", message=" Used 2Gi. "), "Used 2Gi. Raise"),
        ("or without", failed(reason="Evicted"), "The pod used more disk than it may. Raise sizeLimit"),
        ("a pod that a node gave up", failed(reason="NodeShutdown", message=" Down. "),
         "Node node gave the pod up: Down. No retry"),
        ("a container that was lost", failed(died(137, "Unknown", container="c")),
         "Node node restarted or lost container c: Unknown. No"),
        ("with the node's words", failed(died(137, "Unknown", "gone", container="c")), "container c: gone. No"),
        ("the worker's memory", failed(died(137, "OOMKilled")), "The worker used more memory than its limit"),
        ("another one's", failed(failed_beside=died(137, "OOMKilled", container="c")), "Container c used more memory"),
        ("a hopeless worker in its own words", failed(died(4, message=HOPELESS)), "No video."),
        ("or by its code", failed(died(4, message='{"retryable": false}')), "worker exited with code 4; its log may"),
        ("a start in the runtime's words", failed(died(128, "StartError", " no such file. ", container="c")),
         "Container c could not be started: no such file. Check command"),
        ("what a worker says", failed(died(message="it broke")), "it broke"),
        ("or its exit code", failed(died(3)), "The worker exited with code 3; its log may say why."),
        ("another container's exit code", failed(failed_beside=died(3, container="c")),
         "Container c exited with code 3;"),
        ("a kill", failed(died(128 + signal.SIGKILL)), "code 137; something killed it: often memory"),
        ("a signal", failed(died(128 + signal.SIGTERM)), "code 143; signal SIGTERM ended it; its log may say why."),
        ("the first of them", failed(died(129)), "signal SIGHUP ended it"),
        ("no signal", failed(died(128)), "code 128; its log may say why."),
        ("nor this", failed(died(128 + signal.NSIG)), f"code {128 + signal.NSIG}; its log may say why."),
        ("nor one that has no name", failed(died(128 + 32)), "code 160; its log may say why."),
    ],
)  # fmt: skip
def test_the_message_names(rule: str, of: PodView, words: str) -> None:
    assert words in message(of), rule


@pytest.mark.parametrize(
    "of",
    [
        failed(disruption="D" * 200, message="m" * 2000),
        failed(reason="DeadlineExceeded", never_ran=True, waiting=(Waiting("c", "r" * 2000, ""),)),
        failed(reason="OutOfcpu", message="m" * 2000),
        failed(died(128, "StartError", "m" * 2000)),
        failed(died(message="m" * 2000)),
    ],
)
def test_long_words_of_others_are_cut(of: PodView) -> None:
    found = classify(view(kube_job(), of))
    assert len(found.message) <= 1024
    assert len(found.reason) <= 128
    assert len(found.message) > 700, "but no more than needed"


def test_a_cut_between_two_words_leaves_no_gap() -> None:
    begun = "Node node gave the pod up: "
    said = "m" * (979 - len(begun))
    assert message(failed(reason="OutOfcpu", message=f"{said} tail")) == f"{begun}{said} No retry is used up."


# --- fingerprints ------------------------------------------------------------------------------------------------


def print_of(text: str, reason: str = "R", failure_class: FailureClass = TRANSIENT, node: str = "") -> str:
    return Failure(failure_class, reason, text, node_name=node).fingerprint


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("frame 17 of 9", "frame 18 of 12345", True),
        ("GET https://a.example/x failed", "GET http://b.example/y?z failed", True),
        ("object deadbeef01 is gone", "object 0123456789abcdef is gone", True),
        ("Codec unknown", "CODEC UNKNOWN", True),
        ("codec a", "codec b", False),
        ("face is not found", "fade is not found", False),
    ],
)
def test_equal_failures_share_a_fingerprint(one: str, other: str, same: bool) -> None:
    assert (print_of(one) == print_of(other)) is same
    assert len(print_of(one)) == 16


def test_class_and_reason_are_part_of_it_and_the_node_is_not() -> None:
    assert print_of("m", reason="R") != print_of("m", reason="S")
    assert print_of("m", failure_class=TRANSIENT) != print_of("m", failure_class=TIMEOUT)
    assert print_of("Node Pool-a lost it", node="pool-a") == print_of("node pool-b lost it", node="pool-B")
    assert print_of("pool-a lost it", node="pool-a") != print_of("pool-b lost it", node="pool-b")


# --- starts and shortages ----------------------------------------------------------------------------------------


def test_the_first_container_that_is_in_trouble_is_told_of() -> None:
    waits = (Waiting("a", "PodInitializing", ""), Waiting("b", "", ""), Waiting("c", "E" * 200, " an X. "),
             Waiting("d", "ErrImagePull", ""))  # fmt: skip
    problem = start_problem(pod("Pending", waiting=waits, node_name=""), NOW)
    assert problem is not None
    assert (problem.reason, problem.since, problem.hopeless) == ("E" * 128, NOW, False)
    assert problem.message.startswith("Container c does not start on node (none): E")
    assert "E: an X. Check command" in problem.message


def test_a_problem_counts_from_the_node_or_else_from_the_creation() -> None:
    waits = (Waiting("c", "ErrImagePull", "no"),)
    both = start_problem(pod(waiting=waits, scheduled_at=at(-1), created_at=at(-2)), NOW)
    created = start_problem(pod(waiting=waits, created_at=at(-2)), NOW)
    assert both is not None
    assert created is not None
    assert (both.since, created.since) == (at(-1), at(-2))


def test_the_words_of_a_plugin_are_taken_once_and_in_order() -> None:
    said = "0/12 nodes are available: 3 Insufficient memory, 1 Too many pods, 2 Insufficient memory."
    assert missing_resources(said) == ("memory", "pods")
    assert missing_resources(f"{said} preemption: 0/12 nodes are available: 1 Insufficient cpu.") == ("memory", "pods")
    assert missing_resources(f"{said} still not schedulable, 1 Insufficient cpu.") == ("memory", "pods")


def test_a_success_is_not_asked_what_it_failed_of() -> None:
    assert ended(0).culprit is None
