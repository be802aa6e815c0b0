"""kind: a cluster in Docker. Its kubeconfig is a file of the demo's, so that the user's stays as it was."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from klipcluster import ClusterError
from klipcluster.go_build import find_go
from klipcluster.places import cache_folder
from klipdemo.shell import CommandFailed, Shell

VERSION = "v0.30.0"
OLDEST = (0, 26)
"""The first release whose node runs Kubernetes 1.32, the oldest that the chart takes."""
READY_SECONDS = 60.0


def engine_answers() -> bool:
    """Whether a Docker engine answers; the client alone is no engine."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def program() -> str:
    """Path of kind: the one on PATH unless it is too old, else built from its Go module, once. Raises ClusterError."""
    found = _found()
    if found is not None:
        return found
    try:
        return _build(_cached())
    except ClusterError as error:
        raise ClusterError(
            f"a Docker engine answers, but kind {OLDEST[0]}.{OLDEST[1]} or newer is missing and could not be built"
            f" ({error}): install kind, or choose another cluster with CLUSTER=local or CLUSTER=current"
        ) from error


def up(name: str, folder: Path, tools: Path) -> Path:
    """Bring the cluster up and wait until it answers; its kubeconfig. A broken one is removed and made anew."""
    kind = program()
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = (folder / "kubeconfig").resolve()
    if name in _run(kind, "get", "clusters").split():
        if _answers(kind, name, kubeconfig, tools):
            return kubeconfig
        _run(kind, "delete", "cluster", "--name", name, "--kubeconfig", str(kubeconfig))
    # Its progress goes to the terminal: the first time it downloads a node image of about a gigabyte.
    wait = f"{READY_SECONDS:.0f}s"
    try:
        _run(kind, "create", "cluster", "--name", name, "--kubeconfig", str(kubeconfig), "--wait", wait, shown=True)
    except ClusterError as error:
        raise ClusterError(f"{error}. CLUSTER=local needs no Docker") from error
    return kubeconfig


def load_image(name: str, archive: Path) -> None:
    """Load an image archive into every node."""
    _run(program(), "load", "image-archive", str(archive), "--name", name)


def down(name: str, folder: Path) -> None:
    """Remove the cluster and the folder; nothing happens where there is none."""
    kind = _found()
    if kind is not None and engine_answers():
        _run(kind, "delete", "cluster", "--name", name, "--kubeconfig", str((folder / "kubeconfig").resolve()))
    elif (folder / "kubeconfig").exists():
        raise ClusterError(f"no Docker engine or no kind here, so cluster {name} cannot be removed: start the engine")
    shutil.rmtree(folder, ignore_errors=True)


def version(said: str) -> tuple[int, ...]:
    """(0, 30) of `kind v0.30.0 go1.24.6 linux/amd64`; (0, 0) of anything else."""
    match = re.match(r"kind v(\d+)\.(\d+)\.", said)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


def _found() -> str | None:
    """A kind that is here and new enough."""
    there = shutil.which("kind")
    if there is not None and version(_run(there, "version")) >= OLDEST:
        return there
    return str(_cached()) if _cached().exists() else None


def _cached() -> Path:
    return cache_folder() / f"kind-{VERSION}"


def _build(path: Path) -> str:
    print(f"no kind {OLDEST[0]}.{OLDEST[1]} or newer here: building {VERSION}, once", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        environment = os.environ | {"CGO_ENABLED": "0", "GOBIN": scratch}
        _run(find_go(), "install", f"sigs.k8s.io/kind@{VERSION}", environment=environment)
        (Path(scratch) / "kind").rename(path)
    return str(path)


def _answers(kind: str, name: str, kubeconfig: Path, tools: Path) -> bool:
    """Whether an existing cluster can be used: a half-made one cannot, one that was stopped needs a while."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            # A node that was stopped with its engine is not always started with it again.
            _run("docker", "start", *_run(kind, "get", "nodes", "--name", name).split())
            _run(kind, "export", "kubeconfig", "--name", name, "--kubeconfig", str(kubeconfig))
            shell = Shell(kubeconfig, tools, "default")
            shell.kubectl("get", "--raw", "/readyz")
            # The last thing that `kind create` makes: without it the node may be tainted and without a network.
            if shell.items("storageclasses"):
                return True
        except (ClusterError, CommandFailed):
            pass  # asked again until the deadline
        if time.monotonic() > deadline:
            return False
        time.sleep(1)


def _run(*command: str, shown: bool = False, environment: dict[str, str] | None = None) -> str:
    """Run a command; its output. What it says on the way is shown to the user, or kept for the error."""
    errors = None if shown else subprocess.PIPE
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    if done.returncode != 0:
        said = "see above" if shown else done.stderr.strip()
        raise ClusterError(f"`{' '.join(command)}` failed: {said}")
    return done.stdout
