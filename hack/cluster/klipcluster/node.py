"""The node: containerd, kubelet, scheduler, kube-proxy and CoreDNS on this very machine."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from klipcluster.api import Api
from klipcluster.control_plane import Network
from klipcluster.dns_query import resolves
from klipcluster.errors import ClusterError
from klipcluster.image import write_image
from klipcluster.node_removal import remove
from klipcluster.processes import Processes

ADDRESS = "10.89.0.1"
POD_RANGE = "10.88.0.0/16"
DNS_ADDRESS = "10.96.0.10"
PAUSE_IMAGE = "localhost/klipstream-pause:1"
COMPONENTS = ("coredns", "kube-proxy", "kubelet", "kube-scheduler", "containerd")
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
READY_SECONDS = 90.0

__all__ = ["ADDRESS", "COMPONENTS", "check_rights", "check_socket_path", "load_image", "remove", "start"]


def check_rights() -> None:
    """Raises ClusterError where this machine cannot run a node, and installs Debian's packages where it can."""
    if os.geteuid() != 0:
        raise ClusterError(
            "a whole node needs root (network devices, mounts, cgroups): run as root, or use"
            " --control-plane-only, which runs no pods"
        )
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(f"missing on this machine: {', '.join(missing)}; install them and try again")
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if subprocess.run(install, stderr=subprocess.DEVNULL, check=False, **quiet).returncode != 0:  # type: ignore[call-overload]
        subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)  # type: ignore[call-overload]
        subprocess.run(install, check=True, **quiet)  # type: ignore[call-overload]


def check_socket_path(folder: Path) -> None:
    """Raises ClusterError where the folder's path leaves no room for containerd's sockets (107 bytes, unix(7))."""
    longest = f"{_socket(folder)}.ttrpc"
    if len(os.fsencode(longest)) > 107:
        raise ClusterError(f"the path {longest} is too long for a socket: use a shorter state folder or cluster name")


def start(processes: Processes, folder: Path, network: Network, kubernetes: Path, coredns: Path, pause: Path) -> None:
    """Start the node's components and wait until it is Ready and names are resolved."""
    pki = folder / "pki"
    _write_configuration(folder, network)
    processes.start("containerd", ["containerd", "--config", str(folder / "containerd.toml")])
    processes.start("kube-scheduler", [
        str(kubernetes), "kube-scheduler", f"--kubeconfig={pki / 'scheduler.kubeconfig'}", "--leader-elect=false",
        "--bind-address=127.0.0.1", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000",
    ])  # fmt: skip
    processes.start("coredns", [str(coredns), "-conf", str(folder / "Corefile")])
    _until(lambda: _containerd_answers(folder), "containerd", processes)
    archive = folder / "pause.tar"
    write_image(archive, PAUSE_IMAGE, pause, "/pause")
    load_image(folder, archive)
    processes.start("kubelet", [
        str(kubernetes), "kubelet", f"--config={folder / 'kubelet.yaml'}", f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
        f"--hostname-override={network.node_name}", f"--node-ip={network.node_address}",
        f"--root-dir={folder / 'kubelet'}", f"--cert-dir={folder / 'kubelet-pki'}",
    ])  # fmt: skip
    processes.start("kube-proxy", [str(kubernetes), "kube-proxy", f"--config={folder / 'proxy.yaml'}"])
    api = Api(network.server, pki)
    _make_dns_service(api, network)
    _until(lambda: _node_ready(api, network.node_name), "kubelet", processes)
    _until(lambda: resolves(network.node_address, "kubernetes.default.svc.cluster.local"), "coredns", processes)


def load_image(folder: Path, archive: Path) -> None:
    """Import an OCI archive for the kubelet."""
    if not archive.exists():
        raise ClusterError(f"there is no image archive {archive}: build it with `make images`")
    _run("ctr", "--address", str(_socket(folder)), "--namespace", "k8s.io", "images", "import", str(archive))


def _write_configuration(folder: Path, network: Network) -> None:
    pki, cni = folder / "pki", folder / "cni"
    cni.mkdir(exist_ok=True)
    addresses = {"type": "host-local", "dataDir": str(folder / "addresses"), "ranges": [[{"subnet": POD_RANGE}]],
                 "routes": [{"dst": "0.0.0.0/0"}]}  # fmt: skip
    plugins = [
        {"type": "ptp", "ipMasq": True, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    _write_json(cni / "10-klipstream.conflist", {"cniVersion": "0.4.0", "name": "klipstream", "plugins": plugins})
    (folder / "containerd.toml").write_text(f"""\
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{_socket(folder)}"
[ttrpc]
  address = "{_socket(folder)}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE every sandbox fails otherwise.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "{PAUSE_IMAGE}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{folder}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
""")
    _write_yaml(folder / "kubelet.yaml", {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": str(pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "address": network.node_address,
        "port": network.kubelet_port,
        "healthzPort": 0,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{_socket(folder)}",
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "podCIDR": POD_RANGE,
        "maxPods": 200,
        "serializeImagePulls": False,
        "oomScoreAdj": 0,
        "resolvConf": "/etc/resolv.conf",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(folder / "pod-logs"),
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    })  # fmt: skip
    _write_yaml(folder / "proxy.yaml", {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(pki / "proxy.kubeconfig")},
        "mode": "iptables",
        "iptables": {"localhostNodePorts": False},
        "oomScoreAdj": 0,
        "hostnameOverride": network.node_name,
        "bindAddress": network.node_address,
        "healthzBindAddress": "",
        "metricsBindAddress": f"127.0.0.1:{network.proxy_port}",
        "clusterCIDR": POD_RANGE,
        "conntrack": {"maxPerCore": 0, "min": 0},
    })  # fmt: skip
    (folder / "Corefile").write_text(f"""\
.:53 {{
  bind {network.node_address}
  errors
  kubernetes cluster.local in-addr.arpa {{
    endpoint {network.server}
    tls {pki / "admin.crt"} {pki / "admin.key"} {pki / "ca.crt"}
    ttl 5
  }}
  forward . /etc/resolv.conf
  cache 5
}}
""")


def _make_dns_service(api: Api, network: Network) -> None:
    """Service kube-dns leads to CoreDNS, which runs beside the kubelet and not in a pod."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    service = {"metadata": {"name": "kube-dns"}, "spec": {"clusterIP": DNS_ADDRESS, "ports": ports}}
    api.create("/api/v1/namespaces/kube-system/services", {"apiVersion": "v1", "kind": "Service"} | service)
    slices: dict[str, Any] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [network.node_address]}],
        "ports": ports,
    }
    api.create("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slices)


def _node_ready(api: Api, name: str) -> bool:
    node = api.reads(f"/api/v1/nodes/{name}") or {}
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", ()))


def _containerd_answers(folder: Path) -> bool:
    command = ["ctr", "--address", str(_socket(folder)), "--namespace", "k8s.io", "images", "list", "-q"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _until(condition: Callable[[], bool], component: str, processes: Processes) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if not processes.alive(component) or time.monotonic() > deadline:
            tail = processes.log(component).read_text(errors="replace")[-2000:]
            raise ClusterError(f"{component} did not become ready; its log ends with:\n{tail}")
        time.sleep(0.1)


def _socket(folder: Path) -> Path:
    return folder / "containerd.sock"


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
