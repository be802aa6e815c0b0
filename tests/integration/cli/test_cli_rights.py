"""What a user with the rights of one namespace can do, and which right the others are told to ask for."""

import json
from pathlib import Path

import pytest
import yaml

from klipfake.world import job

JOBS, QUEUES = "analysisjobs.analysis.klipstream.io", "analysisqueues.analysis.klipstream.io"


@pytest.fixture
def user(alone, kubectl, control_plane, tmp_path: Path):
    """The command line of a service account that may read and submit jobs in its namespace, and nothing else."""
    namespace = alone.namespace
    kubectl("create", "serviceaccount", "user", "-n", namespace)
    kubectl("create", "role", "user", "-n", namespace, "--verb=get,list,watch,create", f"--resource={JOBS}")
    kubectl("create", "rolebinding", "user", "-n", namespace, "--role=user", f"--serviceaccount={namespace}:user")
    token = kubectl("create", "token", "user", "-n", namespace).stdout.strip()
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"] = [{"name": "user", "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = "user"
    cluster = config["clusters"][0]["cluster"]
    if "certificate-authority" in cluster:
        cluster["certificate-authority"] = str(control_plane.kubeconfig.parent / cluster["certificate-authority"])
    path = tmp_path / "user.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return type(alone)(path, namespace)


def test_what_the_rights_allow_works_and_the_rest_names_the_missing_right(user, alone, kubectl) -> None:
    user("submit", "https://example.com/a.mp4", "--name", "a")
    assert "a" in user.out("list", "--no-headers").split()
    assert "Phase" in user.out("status", "a")
    assert "ask for the verbs get and list on analysisqueues" in user.out("why", "a")
    dry = user("submit", "https://example.com/a.mp4", "--dry-run")
    assert "you may not list analysisqueues" in dry.stderr
    refused = user("cancel", "a", code=4).stderr
    assert f"lacks the right to patch {JOBS} in the namespace {user.namespace}" in refused
    assert f"--verb=patch --resource={JOBS}" in refused
    assert f"list {QUEUES}" in user("queue", "list", code=4).stderr
    everywhere = user("list", "-A", code=4).stderr
    assert "in all namespaces" in everywhere
    assert "name it by -n" in everywhere


def test_doctor_of_a_namespaced_user_skips_what_it_may_not_see(user) -> None:
    found = json.loads(user("doctor", "-o", "json", code=0).stdout)
    skipped = {each["check"] for each in found if each["state"] == "skipped"}
    assert {"CRDs", "Leader", "Queues"} <= skipped
    rights = [each for each in found if each["check"] == "Rights"]
    assert any(f"patch on {JOBS}" in each["todo"] for each in rights)
    assert rights[0]["state"] == "ok"
    assert "submit" in rights[0]["message"]


def test_unknown_credentials_are_told_apart_from_missing_rights(alone, user, kubectl) -> None:
    config = yaml.safe_load(user.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "nonsense"
    user.kubeconfig.write_text(yaml.safe_dump(config))
    assert "does not know who you are" in user("list", code=4).stderr


def test_why_says_that_no_operator_accepts(alone, kubectl) -> None:
    template = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}
    body = {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": "AnalysisQueue", "metadata": {"name": "default"},
            "spec": {"workerTemplate": template}}  # fmt: skip
    kubectl("apply", "-n", alone.namespace, "-f", "-", stdin=json.dumps(job("a")))
    assert [r["code"] for r in json.loads(alone.out("why", "a", "-o", "json"))["reasons"]] == ["no-queue"]
    kubectl("apply", "-n", alone.namespace, "-f", "-", stdin=json.dumps(body))
    codes = [reason["code"] for reason in json.loads(alone.out("why", "a", "-o", "json"))["reasons"]]
    assert codes in (["not-accepted-yet"], ["no-operator"])
