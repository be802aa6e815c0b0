"""What is installed is what was meant: the wheel, the layout, and the generated files."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from klipstream_api.crds import manifests

ROOT = Path(__file__).resolve().parents[2]
# The worker SDK is a distribution of its own (tests/unit/worker/test_worker_distribution.py).
PACKAGES = sorted(path.name for path in ROOT.glob("*/src/klipstream*") if path.is_dir() and path.parts[-3] != "worker")


def test_the_wheel_holds_every_package_and_each_can_be_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist() if name.startswith("klipstream")} >= set(PACKAGES)
        # Pages, scripts and the licences of what is vendored are part of it.
        source = ROOT / "gateway/src"
        shown = (source / "klipstream_gateway/dashboard").rglob("*.*")
        assert {str(path.relative_to(source)) for path in shown if "__pycache__" not in path.parts} <= set(
            archive.namelist()
        )
        archive.extractall(tmp_path / "installed")
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); {program}",
            *PACKAGES,
        ],
        check=True,
    )


def test_the_folder_operator_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("folder", ["crds", "charts/klipstream/crds"])
def test_the_crds_are_current(folder: str) -> None:
    found = {path.name: path.read_text() for path in (ROOT / folder).glob("*.yaml")}
    assert found == manifests(), "run `make crds` and commit what changes"


@pytest.mark.parametrize("name", sorted(manifests()))
def test_every_string_list_and_map_is_bounded(name: str) -> None:
    import yaml

    schema = yaml.safe_load(manifests()[name])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    unbounded: list[str] = []

    def walk(node: dict, where: str) -> None:  # type: ignore[type-arg]
        kind = node.get("type")
        if kind == "string" and "maxLength" not in node and "enum" not in node and "format" not in node:
            unbounded.append(where)
        if kind == "array":
            if "maxItems" not in node:
                unbounded.append(where)
            walk(node["items"], f"{where}[]")
        if "additionalProperties" in node:
            if "maxProperties" not in node:
                unbounded.append(where)
            walk(node["additionalProperties"], f"{where}{{}}")
        for key, child in node.get("properties", {}).items():
            walk(child, f"{where}.{key}")

    for part in ("spec", "status"):
        walk(schema[part], part)
    assert not unbounded
