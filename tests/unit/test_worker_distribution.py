"""The worker SDK is a distribution of its own: no dependency, typed, with its helper, importable from its wheel."""

import ast
import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "worker" / "src").rglob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(ROOT / "worker")], check=True)
    (built,) = folder.glob("klipstream_worker-*.whl")
    return built


def test_the_wheel_says_what_it_needs_which_is_nothing(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = email.message_from_bytes(archive.read(next(n for n in names if n.endswith("/METADATA"))))
    assert "klipstream_worker/py.typed" in names
    assert any(name.endswith("/scripts/klipstream-progress") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert metadata["Requires-Python"] == ">=3.9"
    needed = [each for each in metadata.get_all("Requires-Dist") or [] if "extra ==" not in each]
    assert needed == []


def test_the_installed_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    """With the standard library and nothing else on the path (-I, -S)."""
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*command, str(wheel)], check=True)
    assert os.access(target / "bin" / "klipstream-progress", os.X_OK)
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import klipstream_worker as worker;"
        "[getattr(worker, name) for name in worker.__all__]; import klipstream_worker.__main__"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, cwd=tmp_path)


@pytest.mark.parametrize("source", SOURCES, ids=[path.name for path in SOURCES])
def test_the_sources_are_python_3_9_and_import_the_standard_library_only(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in imported} - {"klipstream_worker"}
    assert roots <= sys.stdlib_module_names
