"""Which cluster the demo runs on: the local node, kind, or the current kubectl context."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from klipcluster import Cluster, ClusterError
from klipcluster.tools import tools_folder
from klipdemo import current, images, kind
from klipdemo.images import Images
from klipdemo.shell import Shell

NAME = "klipstream-demo"
NAMESPACE = "klipstream"
RELEASE = "klipstream"
KINDS = ("local", "kind", "current")
KIND_FOLDER = Path("build/kind")


@dataclass(frozen=True)
class Place:
    """A cluster that is up and has the images, or can pull them."""

    kind: str
    shell: Shell
    images: Images
    results_folder: Path | None
    """A folder of this machine for the results volume; None where the cluster provides volumes."""
    look_around: str
    """The command after which the user's kubectl talks to it."""


def choose(asked: str) -> str:
    """local, kind or current; `auto` takes kind where a Docker engine answers, never somebody's own cluster."""
    if asked == "auto":
        return "kind" if kind.engine_answers() else "local"
    return asked


def bring_up(where: str, named: Images | None, say: Callable[[str], None]) -> Place:
    """Bring the cluster up with the images in it; `named` are those that the user named. Raises ClusterError."""
    tools = tools_folder()
    if where == "current":
        return _current(named, tools)
    # Before minutes are spent on images:
    if where == "kind":
        kind.program()
    elif sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError(
            "the local node needs Linux and root: start Docker for CLUSTER=kind, run as root, or use CLUSTER=current"
        )
    wanted = named or Images()
    if wanted.built_here:
        say("building the images")
        images.build(wanted)
    say(f"bringing the cluster up ({where})")
    return _kind(wanted, tools) if where == "kind" else _local(wanted, tools)


def take_down(asked: str) -> str:
    """Remove the cluster, or, on somebody's own cluster, what the demo installed there; what is left to say."""
    if asked == "current":
        shell, found = current.look(tools_folder(), NAMESPACE)
        return current.remove(shell, found, RELEASE)
    # Without a choice both go: the engine may have been started or stopped since.
    if asked in ("auto", "local"):
        Cluster(NAME).down()
    if asked in ("auto", "kind"):
        kind.down(NAME, KIND_FOLDER)
    return ""


def _local(wanted: Images, tools: Path) -> Place:
    cluster = Cluster(NAME)
    running = cluster.up()
    if wanted.built_here:
        images.load(cluster.load_image, cluster.folder, NAME)
    results = cluster.folder / "results"
    results.mkdir(exist_ok=True)
    results.chmod(0o1777)
    shell = Shell(running.kubeconfig, tools, NAMESPACE)
    return Place("local", shell, wanted, results, f"eval $(.venv/bin/python -m klipcluster --name {NAME} env)")


def _kind(wanted: Images, tools: Path) -> Place:
    kubeconfig = kind.up(NAME, KIND_FOLDER, tools)
    shell = Shell(kubeconfig, tools, NAMESPACE)
    if wanted.built_here:
        # A cluster that was deleted and made again has the same name and none of the images.
        uid = shell.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        images.load(lambda archive: kind.load_image(NAME, archive), KIND_FOLDER, uid)
    return Place("kind", shell, wanted, None, f"export KUBECONFIG={kubeconfig} PATH={tools}:$PATH")


def _current(named: Images | None, tools: Path) -> Place:
    shell, found = current.look(tools, NAMESPACE)
    problem = current.objection(found, named)
    if problem is not None or named is None:
        raise ClusterError(problem or "no images")
    current.agree(
        f"Install the demo ({named.name('operator')}, {named.name('pipeline')}) into context {found.context}"
        f" ({found.server}), namespace {NAMESPACE}?"
    )
    return Place("current", shell, named, None, f"kubectl config use-context {found.context}")
