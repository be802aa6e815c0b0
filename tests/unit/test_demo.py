"""What the demo decides: which cluster, which images, what speaks against it, and when waiting is in vain."""

from pathlib import Path
from typing import Any

import pytest

from klipdemo import clusters, images, kind, rollout
from klipdemo.current import Found, objection
from klipdemo.images import Images

ROOT = Path(__file__).resolve().parents[2]
PUSHED = Images("registry.example.com/team", "v7")
FREE = Found(
    context="theirs", server="https://192.0.2.1", namespace="klipstream", namespace_exists=False,
    namespace_is_ours=False, crds=(), has_default_storage=True,
)  # fmt: skip
CRDS = ("analysisjobs.analysis.klipstream.io",)


def changed(**fields: Any) -> Found:
    return Found(**(vars(FREE) | fields))


@pytest.mark.parametrize(
    ("found", "named", "words"),
    [
        (FREE, PUSHED, None),
        (FREE, Images(), None),
        (changed(namespace_exists=True, namespace_is_ours=True, crds=CRDS), PUSHED, None),
        (changed(namespace_exists=True), PUSHED, "was not made by the demo"),
        (changed(namespace_exists=True, crds=CRDS), PUSHED, "was not made by the demo"),
        (changed(crds=CRDS), PUSHED, "a second operator"),
        (changed(has_default_storage=False), PUSHED, "no default StorageClass"),
        (FREE, None, "make push IMAGES="),
    ],
    ids=["free", "images are there", "again", "namespace", "installation", "other operator", "storage", "no images"],
)
def test_somebody_elses_cluster_is_taken_only_when_nothing_speaks_against_it(
    found: Found, named: Images | None, words: str | None
) -> None:
    said = objection(found, named)
    assert said is None if words is None else said is not None and words in said


def test_without_an_engine_that_answers_the_choice_is_the_local_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker client may be installed all the same."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    assert clusters.choose("auto") == "local"


@pytest.mark.parametrize(
    ("said", "found", "taken"),
    [
        ("kind v0.30.0 go1.24.6 linux/amd64\n", (0, 30), True),
        ("kind v0.26.0 go1.23.4 darwin/arm64\n", (0, 26), True),
        ("kind v1.0.0-alpha go1.30 linux/arm64\n", (1, 0), True),
        ("kind v0.20.0 go1.20.4 linux/amd64\n", (0, 20), False),
        ("something else\n", (0, 0), False),
    ],
)
def test_a_kind_whose_kubernetes_is_too_old_for_the_chart_is_not_used(
    said: str, found: tuple[int, int], taken: bool
) -> None:
    assert kind.version(said) == found
    assert (found >= kind.OLDEST) is taken


@pytest.mark.parametrize("example", ["videos.yaml", "show-results.yaml"])
def test_the_examples_run_the_images_that_the_user_pushed(example: str) -> None:
    manifest = PUSHED.put_into((ROOT / "examples" / "demo" / example).read_text())
    assert "image: registry.example.com/team/klipstream-pipeline:v7\n" in manifest
    assert "localhost/" not in manifest


def test_images_are_loaded_once_a_version_and_again_into_a_new_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images.FOLDER.mkdir(parents=True)
    for component in images.COMPONENTS:
        (images.FOLDER / f"{component}.inputs").write_text("1\n")

    def loaded(cluster: str) -> list[str]:
        archives: list[Path] = []
        images.load(archives.append, tmp_path / "marks", cluster)
        return [archive.stem for archive in archives]

    assert loaded("first") == ["operator", "pipeline"]
    assert loaded("first") == []
    (images.FOLDER / "pipeline.inputs").write_text("2\n")
    assert loaded("first") == ["pipeline"]
    assert loaded("second") == ["operator", "pipeline"], "of the same name, made again"


def pod(created: str, restarts: int = 0, **state: dict[str, str]) -> dict[str, Any]:
    container = {"image": "r.example/op:dev", "restartCount": restarts, "state": state}
    return {"metadata": {"name": created, "creationTimestamp": created}, "status": {"containerStatuses": [container]}}


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        ([], None),
        ([pod("1", waiting={"reason": "ContainerCreating"})], None),
        ([pod("1", waiting={"reason": "ErrImagePull"})], None),
        ([pod("1", waiting={"reason": "ImagePullBackOff"})], "cannot get r.example/op:dev (ImagePullBackOff)"),
        ([pod("1", waiting={"reason": "ErrImageNeverPull"})], "cannot get"),
        ([pod("1", waiting={"reason": "ImagePullBackOff"}), pod("2", running={})], None),
        ([pod("2", waiting={"reason": "ImagePullBackOff"}), pod("1", running={})], "cannot get"),
        ([pod("1", 1, waiting={"reason": "CrashLoopBackOff"})], None),
        ([pod("1", 3, waiting={"reason": "CrashLoopBackOff"})], "again and again"),
    ],
)
def test_waiting_ends_at_once_when_the_newest_pod_cannot_start(pods: list[dict[str, Any]], words: str | None) -> None:
    said = rollout.hopeless(pods)
    assert said is None if words is None else said is not None and words in said


@pytest.mark.parametrize(
    ("status", "there"),
    [
        ({}, False),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, False),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, False),
    ],
    ids=["new", "available", "not looked at yet", "old one left", "not ready"],
)
def test_a_deployment_is_available_when_only_its_newest_pods_are(status: dict[str, int], there: bool) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert rollout.available(deployment) is there


def test_a_wait_that_ran_out_says_what_the_pod_says() -> None:
    unscheduled = {
        "metadata": {"name": "p", "creationTimestamp": "1"},
        "status": {"conditions": [{"status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}]},
    }
    assert rollout.waiting_for([unscheduled]) == "Unschedulable: Insufficient cpu"
    assert "no pod" in rollout.waiting_for([])
