"""Which cluster the demo runs on: the local node, kind, or the current kubectl context."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from klipcluster import Cluster, ClusterError
from klipcluster.tools import tools_folder
from klipdemo.shell import Shell

NAME = "klipstream-demo"
NAMESPACE = "klipstream"
IMAGES = Path("build/images")
COMPONENTS = ("operator", "pipeline")


@dataclass(frozen=True)
class Place:
    """A cluster that is up and holds the images."""

    kind: str
    shell: Shell
    results_folder: Path | None
    """A folder of this machine for the results volume; None where the cluster provides volumes."""


def choose(asked: str) -> str:
    """local, kind or current; `auto` takes kind where a Docker engine answers."""
    if asked == "auto":
        return "kind" if shutil.which("kind") and _docker_answers() else "local"
    if asked not in ("local", "kind", "current"):
        raise ClusterError(f"CLUSTER={asked}: use auto, local, kind or current")
    return asked


def bring_up(kind: str) -> Place:
    """Bring the cluster up and load the images. Raises ClusterError."""
    if kind == "kind":
        if NAME not in _output("kind", "get", "clusters").split():
            _output("kind", "create", "cluster", "--name", NAME)
        _load(
            lambda archive: _output("kind", "load", "image-archive", str(archive), "--name", NAME), Path("build/kind")
        )
        kubeconfig = Path("build/kind/kubeconfig")
        kubeconfig.write_text(_output("kind", "get", "kubeconfig", "--name", NAME))
        return Place(kind, Shell(kubeconfig.resolve(), tools_folder(), NAMESPACE), None)
    if kind == "current":
        shell = Shell(None, tools_folder(), NAMESPACE)
        context = shell.kubectl("config", "current-context").strip()
        if not sys.stdin.isatty():
            raise ClusterError("CLUSTER=current asks before it installs anything: run it in a terminal")
        if input(f"Install the demo into context {context}, namespace {NAMESPACE}? [y/N] ").lower() != "y":
            raise ClusterError("not confirmed: nothing was installed")
        return Place(kind, shell, None)
    cluster = Cluster(NAME)
    running = cluster.up()
    _load(cluster.load_image, cluster.folder)
    results = cluster.folder / "results"
    results.mkdir(exist_ok=True)
    results.chmod(0o1777)
    return Place(kind, Shell(running.kubeconfig, tools_folder(), NAMESPACE), results)


def take_down(kind: str) -> None:
    """Remove the cluster, or, on somebody's own cluster, what the demo installed there."""
    if kind == "kind":
        _output("kind", "delete", "cluster", "--name", NAME)
    elif kind == "current":
        shell = Shell(None, tools_folder(), NAMESPACE)
        shell.kubectl("delete", "analysisjobs", "--all", "--ignore-not-found")
        shell.helm("uninstall", "klipstream", "--ignore-not-found")
        shell.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    else:
        Cluster(NAME).down()


def _load(load: object, marks: Path) -> None:
    """Load the images that changed since they were loaded last."""
    assert callable(load)
    marks.mkdir(parents=True, exist_ok=True)
    for component in COMPONENTS:
        inputs = (IMAGES / f"{component}.inputs").read_text()
        mark = marks / f"loaded-{component}"
        if not mark.exists() or mark.read_text() != inputs:
            load(IMAGES / f"{component}.tar")
            mark.write_text(inputs)


def _docker_answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout
