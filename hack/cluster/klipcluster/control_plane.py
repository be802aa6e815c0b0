"""etcd, API server and controller manager: command lines and readiness."""

import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from klipcluster.api import Api
from klipcluster.errors import ClusterError
from klipcluster.pki import make_pki, write_kubeconfigs
from klipcluster.processes import Processes

READY_SECONDS = 60.0
ANSWER_SECONDS = 20.0
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi/*", "/api*", "/apis*"]
- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - {group: analysis.klipstream.io}
  - {group: batch, resources: [jobs, jobs/status]}
  - {group: "", resources: [pods, pods/status]}
- level: Metadata
"""


@dataclass(frozen=True)
class Network:
    """Addresses and ports of one cluster."""

    api_port: int
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    kubelet_port: int
    proxy_port: int
    bind_address: str
    node_name: str
    node_address: str
    service_range: str
    service_address: str

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"


def prepare(folder: Path, network: Network) -> None:
    """Write certificates, kubeconfigs and the audit policy."""
    names = [
        "127.0.0.1", "localhost", network.node_address, network.service_address,
        "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    ]  # fmt: skip
    pki = folder / "pki"
    make_pki(pki, list(dict.fromkeys(names)), network.node_name, network.node_address)
    write_kubeconfigs(pki, network.server)
    (folder / "audit-policy.yaml").write_text(AUDIT_POLICY)


def start(
    processes: Processes, binary: Path, folder: Path, network: Network, *, audit_log: Path | None, fsync: bool
) -> None:
    """Start etcd and the API server, then, once its roles exist, the controller manager; wait until all work."""
    pki = folder / "pki"
    etcd = f"http://127.0.0.1:{network.etcd_port}"
    peer = f"http://127.0.0.1:{network.etcd_peer_port}"
    processes.start("etcd", [
        str(binary), "etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={etcd}",
        f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}", "--log-level=warn", *([] if fsync else ["--unsafe-no-fsync"]),
    ])  # fmt: skip
    processes.start("kube-apiserver", [
        str(binary), "kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={network.api_port}",
        f"--bind-address={network.bind_address}", f"--advertise-address={network.node_address}",
        f"--service-cluster-ip-range={network.service_range}", "--authorization-mode=Node,RBAC",
        f"--tls-cert-file={pki / 'apiserver.crt'}", f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}", "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--kubelet-client-certificate={pki / 'admin.crt'}", f"--kubelet-client-key={pki / 'admin.key'}",
        "--kubelet-preferred-address-types=InternalIP", "--enable-admission-plugins=NodeRestriction",
        "--max-requests-inflight=5000", "--max-mutating-requests-inflight=2500", "--profiling=false",
        *_endpoint_flags(network), *_audit_flags(folder, audit_log),
    ])  # fmt: skip
    _wait(processes, folder, network, "/readyz", ("etcd", "kube-apiserver"))
    config = pki / "controller-manager.kubeconfig"
    processes.start("kube-controller-manager", [
        str(binary), "kube-controller-manager", f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", f"--root-ca-file={pki / 'ca.crt'}", "--bind-address=127.0.0.1",
        f"--secure-port={network.controller_manager_port}", "--leader-elect=false",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}", "--use-service-account-credentials",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}", f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-job-syncs=50", "--concurrent-gc-syncs=40",
    ])  # fmt: skip
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    _wait(processes, folder, network, account, ("etcd", "kube-apiserver", "kube-controller-manager"))


def _endpoint_flags(network: Network) -> list[str]:
    """An address of this machine alone cannot be an endpoint of the Service `kubernetes`: 1.37 does not start with one,
    and what is older was refused it again and again."""
    loopback = ipaddress.ip_address(network.node_address).is_loopback
    return ["--endpoint-reconciler-type=none"] if loopback else []


def answers(folder: Path, network: Network) -> bool:
    """Whether the API server says that it is ready, within ANSWER_SECONDS."""
    api = Api(network.server, folder / "pki")
    deadline = time.monotonic() + ANSWER_SECONDS
    while api.reads("/readyz") is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _audit_flags(folder: Path, audit_log: Path | None) -> Sequence[str]:
    if audit_log is None:
        return ()
    return (
        f"--audit-policy-file={folder / 'audit-policy.yaml'}",
        f"--audit-log-path={audit_log}",
        "--audit-log-mode=blocking-strict",
        "--audit-log-maxsize=4096",
    )


def _wait(processes: Processes, folder: Path, network: Network, path: str, needed: Sequence[str]) -> None:
    """Wait for a path of the API server. Raises ClusterError with the end of the log of what died."""
    deadline = time.monotonic() + READY_SECONDS
    api = Api(network.server, folder / "pki")
    while api.reads(path) is None:
        for name in needed:
            if not processes.alive(name):
                tail = processes.log(name).read_text(errors="replace")[-2000:]
                raise ClusterError(f"{name} ended while starting; its log ends with:\n{tail}")
        if time.monotonic() > deadline:
            raise ClusterError(f"the API server was not ready within {READY_SECONDS:.0f} s ({path}); see {folder}/logs")
        time.sleep(0.05)
