"""Releases of the chart: that of this checkout, and 0.1.0 from the history."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from klipchart.rights import NAMESPACE, RELEASE
from klipcluster.places import cache_folder
from klipcluster.tools import tools_folder

ROOT = Path(__file__).resolve().parents[3]
OLD = "18db8a8"
"""The first commit whose chart 0.1.0 had both an operator and a relay. Its custom resources lack fields of today."""
OLD_TAG = "0.1.0"


def old_release() -> Path:
    """0.1.0 as it was committed, checked out into the cache; with the archives of its images."""
    commit = _git("rev-parse", f"{OLD}^{{commit}}").strip()
    folder = cache_folder() / "releases" / commit
    if not (folder / "charts").exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    build_images(folder, OLD_TAG, "operator", "relay")
    return folder


def build_images(folder: Path, tag: str, *components: str) -> list[Path]:
    """Build what is not built yet; the archives."""
    command = [str(folder / "hack/images/build.sh"), *components]
    subprocess.run(command, check=True, env=os.environ | {"TAG": tag}, capture_output=True)
    return [folder / "build" / "images" / f"{component}.tar" for component in components]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True, slots=True)
class Tools:
    """The real kubectl and helm on one cluster, in the release's namespace."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return str(self._run("kubectl", *arguments, stdin=stdin, check=check).stdout)

    def helm(self, *arguments: str) -> str:
        """What it printed. Raises AssertionError with what it said."""
        return str(self._run("helm", *arguments).stdout)

    def install(self, verb: str, chart: Path, values: dict[str, Any], *more: str) -> str:
        """helm install or helm upgrade, waiting until everything is ready."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(values, file)
            file.flush()
            return self.helm(verb, RELEASE, str(chart), "-f", file.name, "--wait", "--timeout=10m", *more)

    def items(self, *kinds: str) -> list[dict[str, Any]]:
        """Objects of the namespace."""
        return list(json.loads(self.kubectl("get", ",".join(kinds), "-o", "json"))["items"])

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def _run(self, tool: str, *arguments: str, stdin: str | None = None, check: bool = True) -> Any:
        done = subprocess.run(
            [str(tools_folder() / tool), "--namespace", NAMESPACE, *arguments], input=stdin, capture_output=True,
            text=True, check=False, env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{tool} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done
