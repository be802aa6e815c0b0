"""convex/_generated is what the functions give: `make convex` makes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_generated_bindings_are_current(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "convex", tmp_path / "convex", ignore=shutil.ignore_patterns("_generated"))
    shutil.copy(ROOT / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    made = subprocess.run(
        ["npm", "run", "--silent", "codegen"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    kept, fresh = (
        {path.name: path.read_text() for path in (root / "convex/_generated").iterdir()} for root in (ROOT, tmp_path)
    )
    assert fresh == kept, "make convex"
