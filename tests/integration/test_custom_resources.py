"""The CRDs on a real API server: what it takes, what it refuses and with which words."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

URL = "https://example.com/v.mp4"
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}


def of_kind(kind: str, name: str, spec: Any) -> str:
    return json.dumps({
        "apiVersion": "analysis.klipstream.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    })  # fmt: skip


@pytest.fixture
def run(kubectl: Callable[..., Any], custom_resources: None, namespace: str) -> Callable[..., Any]:
    return lambda *arguments, **options: kubectl("--namespace", namespace, *arguments, **options)


VALID_JOBS: list[dict[str, Any]] = [
    {"videoUrl": URL},
    {"videoUrl": "http://example.com/v"},
    {"videoUrlFrom": {"name": "secret", "key": "url"}},
    {"videoUrl": URL, "priority": "URGENT"},
    {"videoUrl": URL, "priority": "LOW", "type": "film", "queueName": "nightly"},
    {"videoUrl": URL, "videoId": "2472774741", "jobId": "old-id_1.2"},
    {"videoUrl": URL, "params": {"language": "en", "empty": ""}},
    {"videoUrl": URL, "timeoutSeconds": 1, "maxRetries": 0, "retryDelaysSeconds": [0]},
    {"videoUrl": URL, "timeoutSeconds": 604800, "maxRetries": 20, "retryDelaysSeconds": [30, 120, 300]},
    {"videoUrl": URL, "callback": {"url": "https://example.com/hook"}},
    {
        "videoUrl": URL,
        "callback": {"url": "https://e.io/h", "secretRef": {"name": "s", "key": "k"}, "events": ["job.failed"]},
    },
    {"videoUrl": URL, "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}}},
    {"videoUrl": URL, "notBefore": "2026-01-02T03:04:05Z"},
    {"videoUrl": URL, "cancel": True, "replay": 3},
    {"videoUrl": URL, "sealed": "x" * 16384},
]
INVALID_JOBS: list[tuple[Any, str]] = [
    ({}, "exactly one of videoUrl and videoUrlFrom"),
    ({"videoUrl": URL, "videoUrlFrom": {"name": "s", "key": "k"}}, "exactly one of videoUrl and videoUrlFrom"),
    ({"videoUrl": "ftp://example.com/v"}, "spec.videoUrl"),
    ({"videoUrl": "file:///etc/passwd"}, "spec.videoUrl"),
    ({"videoUrl": "https://example.com/a b"}, "spec.videoUrl"),
    ({"videoUrl": "https://" + "x" * 2048}, "spec.videoUrl"),
    ({"videoUrlFrom": {"name": "s"}}, "spec.videoUrlFrom.key"),
    ({"videoUrl": URL, "priority": "urgent"}, "spec.priority"),
    ({"videoUrl": URL, "priority": 4}, "spec.priority"),
    ({"videoUrl": URL, "type": "Not_A_Label"}, "spec.type"),
    ({"videoUrl": URL, "queueName": "UPPER"}, "spec.queueName"),
    ({"videoUrl": URL, "queueName": ""}, "spec.queueName"),
    ({"videoUrl": URL, "jobId": "../up"}, "spec.jobId"),
    ({"videoUrl": URL, "jobId": "x" * 64}, "spec.jobId"),
    ({"videoUrl": URL, "videoId": "x" * 129}, "spec.videoId"),
    ({"videoUrl": URL, "params": {str(n): "" for n in range(33)}}, "spec.params"),
    ({"videoUrl": URL, "params": {"long": "x" * 4097}}, "spec.params"),
    ({"videoUrl": URL, "params": {"number": 1}}, "spec.params"),
    ({"videoUrl": URL, "timeoutSeconds": 0}, "spec.timeoutSeconds"),
    ({"videoUrl": URL, "timeoutSeconds": 604801}, "spec.timeoutSeconds"),
    ({"videoUrl": URL, "timeoutSeconds": "1h"}, "spec.timeoutSeconds"),
    ({"videoUrl": URL, "maxRetries": -1}, "spec.maxRetries"),
    ({"videoUrl": URL, "maxRetries": 21}, "spec.maxRetries"),
    ({"videoUrl": URL, "retryDelaysSeconds": []}, "spec.retryDelaysSeconds"),
    ({"videoUrl": URL, "retryDelaysSeconds": [1] * 11}, "spec.retryDelaysSeconds"),
    ({"videoUrl": URL, "retryDelaysSeconds": [-1]}, "spec.retryDelaysSeconds"),
    ({"videoUrl": URL, "callback": {"url": "http://example.com"}}, "spec.callback.url"),
    ({"videoUrl": URL, "callback": {}}, "spec.callback.url"),
    ({"videoUrl": URL, "resources": {"limits": {"memory": "lots"}}}, "spec.resources.limits"),
    ({"videoUrl": URL, "notBefore": "tomorrow"}, "spec.notBefore"),
    ({"videoUrl": URL, "replay": -1}, "spec.replay"),
    ({"videoUrl": URL, "sealed": "x" * 16385}, "spec.sealed"),
    ({"videoUrl": URL, "video_url": URL}, "unknown field"),
]
VALID_QUEUES: list[dict[str, Any]] = [
    {"workerTemplate": TEMPLATE},
    {"workerTemplate": TEMPLATE, "mode": "Paused", "maxConcurrentJobs": 0, "maxQueueSize": 0},
    {"workerTemplate": TEMPLATE, "maxConcurrentJobs": 1000, "accepts": {"types": ["film"], "priorities": ["LOW"]}},
    {"workerTemplate": TEMPLATE, "results": {"url": "s3://bucket/prefix"}},
    {"workerTemplate": TEMPLATE, "results": {"url": "file:///results", "claimName": "claim"}},
    {"workerTemplate": {"spec": {"containers": [], "anything": {"goes": ["here"]}}}},
]
INVALID_QUEUES: list[tuple[Any, str]] = [
    ({}, "spec.workerTemplate"),
    ({"workerTemplate": {}}, "spec.workerTemplate.spec"),
    ({"workerTemplate": TEMPLATE, "mode": "Stopped"}, "spec.mode"),
    ({"workerTemplate": TEMPLATE, "maxConcurrentJobs": 1001}, "spec.maxConcurrentJobs"),
    ({"workerTemplate": TEMPLATE, "maxConcurrentJobs": -1}, "spec.maxConcurrentJobs"),
    ({"workerTemplate": TEMPLATE, "maxQueueSize": 1000001}, "spec.maxQueueSize"),
    ({"workerTemplate": TEMPLATE, "accepts": {"priorities": ["TOP"]}}, "spec.accepts.priorities"),
    ({"workerTemplate": TEMPLATE, "results": {"url": "/results"}}, "spec.results.url"),
    (
        {"workerTemplate": TEMPLATE, "results": {"url": "s3://b", "claimName": "c"}},
        "claimName goes with a file:/// URL",
    ),
    ({"workerTemplate": TEMPLATE, "nodeLost": {"seconds": 1}}, "spec.nodeLost.seconds"),
    ({"workerTemplate": TEMPLATE, "retention": {"failedSeconds": -1}}, "spec.retention.failedSeconds"),
    ({"workerTemplate": {"labels": {"a": "x" * 64}, "spec": {}}}, "spec.workerTemplate.labels"),
]


def test_valid_objects_are_taken(run: Callable[..., Any]) -> None:
    for number, spec in enumerate(VALID_JOBS):
        run("create", "-f", "-", stdin=of_kind("AnalysisJob", f"j{number}", spec))
    for number, spec in enumerate(VALID_QUEUES):
        run("create", "-f", "-", stdin=of_kind("AnalysisQueue", f"q{number}", spec))


@pytest.mark.parametrize("kind", ["AnalysisJob", "AnalysisQueue"])
def test_invalid_objects_are_refused_with_the_field_or_a_hint(run: Callable[..., Any], kind: str) -> None:
    taken, unclear = [], []
    for spec, word in INVALID_JOBS if kind == "AnalysisJob" else INVALID_QUEUES:
        done = run("create", "--validate=strict", "-f", "-", stdin=of_kind(kind, "x", spec), check=False)
        if done.returncode == 0:
            taken.append(spec)
            run("delete", kind, "x")
        elif word not in done.stderr:
            unclear.append((spec, word, done.stderr))
    assert not taken
    assert not unclear


def test_defaults_are_those_of_the_guide(run: Callable[..., Any]) -> None:
    run("create", "-f", "-", stdin=of_kind("AnalysisQueue", "q", {"workerTemplate": TEMPLATE}))
    run("create", "-f", "-", stdin=of_kind("AnalysisJob", "j", {"videoUrl": URL}))
    queue = json.loads(run("get", "aq", "q", "-o", "json").stdout)["spec"]
    guide = {"mode": "Running", "maxConcurrentJobs": 3, "maxQueueSize": 100, "timeoutSeconds": 3600, "maxRetries": 3}
    assert {key: queue[key] for key in guide} == guide
    assert queue["retryDelaysSeconds"] == [30, 120, 300]
    assert queue["retention"] == {"succeededSeconds": 604800, "failedSeconds": 2592000}
    job = json.loads(run("get", "aj", "j", "-o", "json").stdout)
    assert job["spec"]["priority"] == "NORMAL"
    assert job["status"]["phase"] == "Queued"


FULL = {
    "videoUrl": URL,
    "videoId": "v",
    "jobId": "i",
    "queueName": "q",
    "type": "film",
    "params": {"a": "b"},
    "replay": 2,
}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"videoUrl": "https://example.com/other"}, "videoUrl cannot be changed"),
        ({"videoId": "w"}, "videoId cannot be changed"),
        ({"videoId": None}, "videoId cannot be changed"),
        ({"jobId": "other"}, "jobId cannot be changed"),
        ({"queueName": "other"}, "queueName cannot be changed"),
        ({"queueName": None}, "queueName cannot be changed"),
        ({"type": "clip"}, "type cannot be changed"),
        ({"params": {"a": "c"}}, "params cannot be changed"),
        ({"sealed": "new"}, "sealed cannot be changed"),
        ({"replay": 1}, "replay only rises"),
        ({"priority": "HIGH"}, None),
        ({"replay": 3}, None),
        ({"timeoutSeconds": 60, "maxRetries": 1}, None),
        ({"cancel": True}, None),
    ],
)
def test_what_may_change_after_submission(run: Callable[..., Any], change: dict[str, Any], word: str | None) -> None:
    run("create", "-f", "-", stdin=of_kind("AnalysisJob", "j", FULL))
    done = run("patch", "aj", "j", "--type=merge", "-p", json.dumps({"spec": change}), check=False)
    assert (done.returncode == 0) == (word is None), done.stderr
    assert word is None or word in done.stderr


def test_a_cancel_cannot_be_taken_back(run: Callable[..., Any]) -> None:
    run("create", "-f", "-", stdin=of_kind("AnalysisJob", "j", {"videoUrl": URL, "cancel": True}))
    done = run("patch", "aj", "j", "--type=merge", "-p", '{"spec":{"cancel":false}}', check=False)
    assert "cancel cannot be taken back" in done.stderr


def progress(percentage: float, attempt: int = 1) -> dict[str, Any]:
    return {"attempt": attempt, "percentage": percentage, "stage": "Analyzing", "updatedAt": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"phase": "Succeeded"}, {"phase": "Queued"}, "a finished job stays finished"),
        ({"phase": "Cancelled"}, {"phase": "Running"}, "a finished job stays finished"),
        ({"phase": "Rejected"}, {"phase": "Queued"}, "a finished job stays finished"),
        ({"phase": "Failed"}, {"phase": "Queued"}, "a finished job stays finished"),
        ({"phase": "Failed"}, {"phase": "Queued", "observedReplay": 1}, None),
        ({"phase": "Running", "progress": progress(50)}, {"progress": progress(40)}, "progress never falls"),
        ({"phase": "Running", "progress": progress(50)}, {"progress": progress(60)}, None),
        ({"phase": "Running", "progress": progress(50)}, {"progress": progress(0, attempt=2)}, None),
        ({"phase": "Succeeded", "progress": progress(100)}, {"progress": progress(100, 2)}, "progress is frozen"),
        ({"phase": "Running", "attempt": 2}, {"attempt": 1}, "the number of attempts never falls"),
        ({"phase": "Running"}, {"phase": "Dreaming"}, "status.phase"),
        ({"phase": "Running"}, {"progress": progress(101)}, "status.progress.percentage"),
    ],
)
def test_status_transitions_hold_against_any_writer(
    run: Callable[..., Any], before: dict[str, Any], after: dict[str, Any], word: str | None
) -> None:
    run("create", "-f", "-", stdin=of_kind("AnalysisJob", "j", {"videoUrl": URL}))

    def write(status: dict[str, Any]) -> Any:
        body = json.dumps({"status": status})
        return run("patch", "aj", "j", "--subresource=status", "--type=merge", "-p", body, check=False)

    assert write(before).returncode == 0
    done = write(after)
    assert (done.returncode == 0) == (word is None), done.stderr
    assert word is None or word in done.stderr


def test_columns_selectable_fields_explain_and_scale_read_well(run: Callable[..., Any]) -> None:
    run("create", "-f", "-", stdin=of_kind("AnalysisQueue", "q", {"workerTemplate": TEMPLATE}))
    run(
        "create",
        "-f",
        "-",
        stdin=of_kind("AnalysisJob", "urgent", {"videoUrl": URL, "priority": "URGENT", "videoId": "v1"}),
    )
    run("create", "-f", "-", stdin=of_kind("AnalysisJob", "low", {"videoUrl": URL, "priority": "LOW"}))
    assert run("get", "aj").stdout.splitlines()[0].split() == [
        "NAME", "PRIORITY", "PHASE", "PROGRESS", "STAGE", "ATTEMPT", "AGE",
    ]  # fmt: skip
    assert run("get", "aj", "-o", "wide").stdout.splitlines()[0].split()[7:] == [
        "QUEUE", "VIDEO", "STARTED", "FINISHED", "REASON",
    ]  # fmt: skip
    assert run("get", "aq").stdout.splitlines()[0].split()[1:5] == ["MODE", "ACTIVE", "LIMIT", "QUEUED"]
    for selector in ("spec.priority=URGENT", "spec.videoId=v1", "status.phase=Queued,spec.priority=URGENT"):
        assert run("get", "aj", "--field-selector", selector, "-o", "name").stdout.split() == [
            "analysisjob.analysis.klipstream.io/urgent"
        ]
    explained = run("explain", "aj.spec.priority").stdout
    assert "URGENT, HIGH, NORMAL or LOW" in explained
    assert len(run("get", "analysis", "-o", "name").stdout.split()) == 3
    run("scale", "aq", "q", "--replicas=7")
    assert run("get", "aq", "q", "-o", "jsonpath={.spec.maxConcurrentJobs}").stdout == "7"


def test_the_policy_refuses_submissions_to_full_and_draining_queues(run: Callable[..., Any], namespace: str) -> None:
    import subprocess
    from pathlib import Path

    from klipcluster.tools import tools_folder

    chart = Path(__file__).resolve().parents[2] / "charts" / "klipstream"
    helm = [str(tools_folder() / "helm"), "template", "r", str(chart), "-n", namespace]
    rendered = subprocess.run(
        [*helm, "-s", "templates/admission-policy.yaml"], capture_output=True, text=True, check=True
    )
    run("apply", "-f", "-", stdin=rendered.stdout)
    try:
        for name, spec in {"full": {"maxQueueSize": 2}, "draining": {"mode": "Draining"}, "open": {}}.items():
            run("create", "-f", "-", stdin=of_kind("AnalysisQueue", name, {"workerTemplate": TEMPLATE} | spec))
        run("patch", "aq", "full", "--subresource=status", "--type=merge", "-p", '{"status":{"queued":2}}')

        def submit(queue: str) -> Any:
            spec = {"videoUrl": URL, "queueName": queue}
            return run("create", "--dry-run=server", "-f", "-", stdin=of_kind("AnalysisJob", "j", spec), check=False)

        deadline = time.monotonic() + 60
        while submit("draining").returncode == 0 or submit("full").returncode == 0:
            assert time.monotonic() < deadline, "the policy never came into force"
            time.sleep(0.5)
        assert "the queue draining is draining and takes no new jobs" in submit("draining").stderr
        assert "the queue full is full (2 jobs wait, maxQueueSize is 2)" in submit("full").stderr
        assert submit("open").returncode == 0
        assert submit("not-there").returncode == 0
    finally:
        run("delete", "-f", "-", stdin=rendered.stdout)
