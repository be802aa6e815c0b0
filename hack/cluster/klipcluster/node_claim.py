"""Whose node this machine runs: the bridge's hardware address is the cluster's mark, so that none removes another's.

One whole node per machine: kube-proxy's chains have fixed names. The mark lives on the device and not in a file, since
a reboot takes the device away together with the chains, mounts and processes that it stands for.
"""

import hashlib
import subprocess
from pathlib import Path

from klipcluster.errors import ClusterError

BRIDGE = "klip0"


def claim(folder: Path, address: str) -> None:
    """Make the bridge for this cluster. Raises ClusterError where another node, or another Kubernetes, runs here."""
    if exists():
        raise ClusterError(
            f"the device {BRIDGE} exists: another whole node runs here, and a machine holds one; `list` names the"
            " clusters of this user, `down` the other one first"
        )
    _refuse_another_kubernetes()
    # In one request with the device, which an alias is not: a crash leaves no bridge that is nobody's.
    _ip("link", "add", "name", BRIDGE, "address", _mark(folder), "type", "bridge")
    _ip("address", "add", f"{address}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def exists() -> bool:
    """Whether a whole node, of whichever cluster, runs on this machine."""
    return Path(f"/sys/class/net/{BRIDGE}").exists()


def is_ours(folder: Path) -> bool:
    """Whether the node on this machine is this cluster's."""
    try:
        return Path(f"/sys/class/net/{BRIDGE}/address").read_text().strip() == _mark(folder)
    except FileNotFoundError:
        return False


def release() -> None:
    """Give the machine back; the last step of a removal, so that an interrupted one can be taken up again."""
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def _mark(folder: Path) -> str:
    """A locally administered unicast address (the 02) made from the cluster's folder."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _refuse_another_kubernetes() -> None:
    saved = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=False).stdout
    if ":KUBE-SERVICES " in saved:
        raise ClusterError(
            "another Kubernetes' kube-proxy has its rules on this machine (chain KUBE-SERVICES of table nat), and ours"
            " would take them over: stop it first, or use the control plane alone (--control-plane-only)"
        )


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
