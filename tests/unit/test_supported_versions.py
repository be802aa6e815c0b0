"""The supported range of Kubernetes is the same wherever it is named, and its ends are what is built."""

import re
from pathlib import Path

import pytest
import yaml

from klipcluster import releases
from klipcluster.go_build import OLDEST_GO

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "hack" / "cluster"


def test_the_chart_takes_the_oldest_supported_release_and_nothing_older() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "klipstream" / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={releases.OLDEST}.0-0"


@pytest.mark.parametrize("page", ["README.md", "docs/versions.md"])
def test_the_page_names_both_ends(page: str) -> None:
    assert f"Kubernetes {releases.OLDEST} to {releases.NEWEST}" in (ROOT / page).read_text()


def test_the_page_names_the_patch_releases_that_are_tried() -> None:
    page = (ROOT / "docs" / "versions.md").read_text()
    assert [version for version in releases.RELEASES.values() if version not in page] == []


@pytest.mark.parametrize("release", releases.RELEASES)
def test_the_modules_of_a_release_are_its_own(release: str) -> None:
    program, version = releases.program(release), releases.RELEASES[release]
    (module,) = (f for f in program.files() if f.suffix == ".mod" and (not program.version or f.stem == version))
    said = module.read_text()
    staging = set(re.findall(r"=> k8s\.io/\S+ v0\.(\S+)", said))
    assert f"k8s.io/kubernetes {version}" in said
    assert {patch.split(".")[0] for patch in staging} == {release.split(".")[1]}
    needed = re.search(r"^go (\d+)\.(\d+)", said, re.MULTILINE)
    assert needed is not None
    assert (int(needed[1]), int(needed[2])) <= max(program.oldest_go, OLDEST_GO)


def test_two_releases_of_one_module_share_no_dependencies() -> None:
    oldest, newest = (releases.program(release) for release in (releases.OLDEST, releases.NEWEST))
    assert {file.name for file in oldest.files()} & {file.name for file in newest.files()} == {"go.mod", "main.go"}
