"""Removing a node so that nothing stays: containers, shims, mounts, cgroups, devices, iptables chains."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from klipcluster import node_claim
from klipcluster.errors import ClusterError
from klipcluster.processes import Processes

# Paths that kubelet and CNI have compiled in; containerd 1.6 passes no other.
CNI_RESULTS = Path("/var/lib/cni/results")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
LOG_LINKS = Path("/var/log/containers")


def remove(processes: Processes, folder: Path, pod_range: str) -> None:
    """Remove what the node made, also after a kill -9 of all its components.

    What belongs to the whole machine (chains, cgroups) goes only while the bridge is this cluster's: a cluster whose
    node was refused must not take away the one that stood in its way.
    """
    sockets = _shim_sockets(folder)
    _kill_containers(folder)
    processes.stop("containerd")
    _unmount(folder)
    for socket in sockets | _shim_sockets(folder):
        socket.unlink(missing_ok=True)
    _remove_log_links(folder)
    if not node_claim.is_ours(folder):
        return
    _remove_cgroups()
    _remove_chains()
    _forget_connections(pod_range)
    _remove_plugin_results()
    _remove_device_plugin_socket()
    node_claim.release()


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
    """Unmount whatever is mounted below the cluster's folder, the innermost first.

    Raises ClusterError when a mount stays: deleting the folder would delete the host's files behind it.
    """
    for point in sorted(_mounts_below(folder), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    left = _mounts_below(folder)
    if left:
        raise ClusterError(f"still mounted, so {folder} is kept: {', '.join(left)}; unmount it, then `down` again")


def _mounts_below(folder: Path) -> list[str]:
    """Mount points of this mount namespace; the kernel writes space, tab, newline and backslash as octal."""
    fields = (line.split()[4] for line in Path("/proc/self/mountinfo").read_bytes().splitlines())
    points = [re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field) for field in fields]
    return [path for path in map(os.fsdecode, points) if path.startswith(f"{folder}/")]


def _remove_cgroups() -> None:
    """Empty cgroups of pods stay behind when the kubelet is stopped before it could tidy up."""
    roots = [*Path("/sys/fs/cgroup").glob("*/kubepods"), Path("/sys/fs/cgroup/kubepods")]
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


def _shim_sockets(folder: Path) -> set[Path]:
    """Shims that are killed leave their sockets; containerd has written down which ones are its own.

    It forgets those whose end it sees, so they are read before the shims are killed as well. Asking who still listens
    would not do: a killed shim's threads close their files after it already looks dead.
    """
    found = set()
    for address in (folder / "containerd" / "state" / "io.containerd.runtime.v2.task").glob("*/*/address"):
        with contextlib.suppress(FileNotFoundError):
            found.add(Path(address.read_text().strip().removeprefix("unix://")))
    return found


def _forget_connections(pod_range: str) -> None:
    """The next node hands out the same addresses; a remembered translation would lead its packets astray."""
    for side in ("--orig-src", "--reply-src"):
        subprocess.run(["conntrack", "-D", side, pod_range], capture_output=True, check=False)


def _remove_plugin_results() -> None:
    """libcni's cache of what was set up, for our network and for the loopback device of the same containers."""
    for result in CNI_RESULTS.glob("klipstream-*-eth0"):
        container = result.name.removeprefix("klipstream-").removesuffix("-eth0")
        (CNI_RESULTS / f"cni-loopback-{container}-lo").unlink(missing_ok=True)
        result.unlink(missing_ok=True)
    _rmdir(CNI_RESULTS)
    _rmdir(CNI_RESULTS.parent)


def _remove_log_links(folder: Path) -> None:
    """The kubelet links each container's log there, whatever podLogsDir says."""
    for link in LOG_LINKS.glob("*.log"):
        if link.is_symlink() and os.readlink(link).startswith(f"{folder}/"):
            link.unlink(missing_ok=True)
    _rmdir(LOG_LINKS)


def _remove_device_plugin_socket() -> None:
    """The kubelet's, which has ended; it is ours, since the machine's one node is."""
    (DEVICE_PLUGINS / "kubelet.sock").unlink(missing_ok=True)
    _rmdir(DEVICE_PLUGINS)
    _rmdir(DEVICE_PLUGINS.parent)
