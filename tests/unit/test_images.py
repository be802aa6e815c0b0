"""What is pushed under a release's tag stands on a base that nobody can change."""

import os
import subprocess
from pathlib import Path

import pytest

PUSH = Path(__file__).resolve().parents[2] / "hack" / "images" / "push.sh"


@pytest.mark.parametrize(
    ("tag", "base"),
    [("0.2.0", None), ("v1.0.0-rc.1", "docker.io/library/python:3.12-slim")],
)
def test_a_release_needs_its_base_by_digest(tag: str, base: str | None) -> None:
    environment = os.environ | {"TAG": tag} | ({"PYTHON_BASE": base} if base is not None else {})
    done = subprocess.run(
        [PUSH, "registry.example.com/team"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "sha256" in done.stderr
