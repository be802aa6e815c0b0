"""The Kubernetes Job of an attempt."""

import json

import pytest

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.worker_template import problems
from klipstream_operator.jobs import CONTRACT_MOUNT, WorkerContract, make_job

UID = "0b8f3c1e-0000-4000-8000-000000000001"
QUEUE = AnalysisQueue.from_wire({
    "metadata": {"name": "q", "namespace": "n"},
    "spec": {
        "timeoutSeconds": 600,
        "results": {"url": "file:///results", "claimName": "claim"},
        "workerTemplate": {
            "labels": {"team": "media"},
            "spec": {"containers": [{"name": "mine", "image": "i", "env": [{"name": "MODE", "value": "x"}]}]},
        },
    },
})  # fmt: skip


def job(**spec: object) -> AnalysisJob:
    return AnalysisJob.from_wire({
        "metadata": {"name": "a", "namespace": "n", "uid": UID},
        "spec": {"videoUrl": "https://example.com/$(HOME).mp4", "params": {"key": "value"}} | spec,
    })  # fmt: skip


def make(of: AnalysisJob, contract: WorkerContract | None = None) -> dict:  # type: ignore[type-arg]
    return make_job(of, QUEUE, 2, contract or WorkerContract("https://operator/v1/progress", "CA"))


def test_it_is_named_by_uid_and_attempt_and_owned() -> None:
    made = make(job())
    assert made["metadata"]["name"] == f"{UID}-a2"
    assert made["metadata"]["ownerReferences"][0]["uid"] == UID


def test_it_runs_one_pod_once_and_the_pod_carries_the_time_limit() -> None:
    spec = make(job())["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["podReplacementPolicy"]) == (0, 1, "Failed")
    assert "activeDeadlineSeconds" not in spec
    assert "ttlSecondsAfterFinished" not in spec
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 600
    assert make(job(timeoutSeconds=60))["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 60


def test_the_worker_gets_the_contract_and_no_kubernetes_rights() -> None:
    template = make(job())["spec"]["template"]
    environment = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}
    assert environment["MODE"] == "x"
    assert environment["ANALYSIS_ATTEMPT"] == "2"
    assert environment["ANALYSIS_VIDEO_URL"] == "https://example.com/$$(HOME).mp4"
    assert environment["ANALYSIS_TOKEN_FILE"] == f"{CONTRACT_MOUNT}/token"
    assert template["spec"]["automountServiceAccountToken"] is False
    assert json.loads(template["metadata"]["annotations"]["analysis.klipstream.io/params"]) == {"key": "value"}
    assert {mount["mountPath"] for mount in template["spec"]["containers"][0]["volumeMounts"]} == {
        CONTRACT_MOUNT, "/results",
    }  # fmt: skip


def test_a_url_from_a_secret_stays_in_the_secret() -> None:
    made = make(job(videoUrl=None, videoUrlFrom={"name": "s", "key": "url"}))
    (entry,) = [
        e for e in made["spec"]["template"]["spec"]["containers"][0]["env"] if e["name"] == "ANALYSIS_VIDEO_URL"
    ]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "url"}}


@pytest.mark.parametrize(("spec", "said"), [({"sealed": "x"}, ["true"]), ({}, [])])
def test_a_worker_is_told_that_there_are_sealed_fields_and_not_which(spec: dict[str, str], said: list[str]) -> None:
    environment = make(job(**spec))["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [entry["value"] for entry in environment if entry["name"] == "ANALYSIS_SEALED"] == said


def test_the_template_of_the_queue_is_left_as_it_is() -> None:
    before = QUEUE.model_dump_json()
    make(job())
    assert QUEUE.model_dump_json() == before


@pytest.mark.parametrize(
    ("spec", "word"),
    [({}, "containers"), ({"containers": []}, "containers"), ({"containers": [{"name": "w"}]}, "image"),
     ({"containers": [{"image": "i"}], "restartPolicy": "Always"}, "restartPolicy")],
)  # fmt: skip
def test_a_template_that_cannot_work_is_named(spec: dict, word: str) -> None:  # type: ignore[type-arg]
    assert any(word in problem for problem in problems(spec))


def test_a_sound_template_has_no_problems() -> None:
    assert problems(QUEUE.spec.worker_template.spec) == []


def test_the_worker_is_told_which_private_networks_sources_may_be_in() -> None:
    def told(queue: AnalysisQueue) -> str | None:
        made = make_job(job(), queue, 1, WorkerContract("https://operator/v1/progress"))
        environment = made["spec"]["template"]["spec"]["containers"][0]["env"]
        return next((entry["value"] for entry in environment if entry["name"] == "ANALYSIS_ALLOWED_SOURCES"), None)

    allowing = QUEUE.model_dump(by_alias=True, exclude_none=True)
    allowing["spec"]["sources"] = {"allowedNetworks": ["10.1.0.0/16", "fd00::/8"]}
    assert told(QUEUE) is None
    assert told(AnalysisQueue.model_validate(allowing)) == "10.1.0.0/16,fd00::/8"
