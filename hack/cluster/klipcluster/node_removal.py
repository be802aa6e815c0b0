"""Removing a node so that nothing stays: containers, shims, mounts, cgroups, devices, iptables chains."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from klipcluster.control_plane import Network
from klipcluster.processes import Processes

BRIDGE = "klip0"


def remove(processes: Processes, folder: Path, network: Network) -> None:
    """Remove what the node made, also after a kill -9 of all its components."""
    del network
    _kill_containers(folder)
    processes.stop("containerd")
    _unmount(folder)
    _remove_cgroups()
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
    _remove_chains()
    _remove_shim_sockets()


def _kill_containers(folder: Path) -> None:
    """End every shim of our containerd, recognised by its socket's path, and everything below it."""
    for _ in range(200):
        parents = _parents()
        shims = {
            pid for pid in parents if f"{folder}/containerd.sock" in _command_line(pid) and "shim" in _command_line(pid)
        }
        doomed = {pid for pid in parents if pid not in shims and _descends(pid, shims, parents)}
        if not shims and not doomed:
            return
        for pid in doomed or shims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def _parents() -> dict[int, int]:
    """Parent by pid, of all processes that are not zombies."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                found[int(entry.name)] = int(fields[1])
    return found


def _descends(pid: int, ancestors: set[int], parents: dict[int, int]) -> bool:
    while pid in parents and pid > 1:
        pid = parents[pid]
        if pid in ancestors:
            return True
    return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _unmount(folder: Path) -> None:
    """Unmount whatever is mounted below the cluster's folder, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in sorted({p for p in points if p.startswith(f"{folder}/")}, key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def _remove_cgroups() -> None:
    """Empty cgroups of pods stay behind when the kubelet is stopped before it could tidy up."""
    roots = [*list(Path("/sys/fs/cgroup").glob("*/kubepods")), Path("/sys/fs/cgroup/kubepods")]
    for root in roots:
        for group in sorted((p for p in root.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            _rmdir(group)
        _rmdir(root)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return


def _remove_chains() -> None:
    """Drop the chains of kube-proxy, kubelet and the CNI plugins, and the rules that jump to them."""
    for family in ("iptables", "ip6tables"):
        saved = subprocess.run([f"{family}-save"], capture_output=True, text=True, check=False).stdout
        if not re.search(r"\b(KUBE|CNI)-", saved):
            continue
        kept = [line for line in saved.splitlines() if not re.search(r"\b(KUBE|CNI)-", line)]
        subprocess.run([f"{family}-restore"], input="\n".join(kept) + "\n", text=True, capture_output=True, check=True)


def _remove_shim_sockets() -> None:
    """Shims that were killed leave their sockets; those that nobody listens on are nobody's."""
    folder = Path("/run/containerd/s")
    if not folder.exists():
        return
    listening = Path("/proc/net/unix").read_text()
    for socket in folder.iterdir():
        if str(socket) not in listening:
            socket.unlink(missing_ok=True)
