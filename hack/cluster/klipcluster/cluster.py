"""One cluster by its name: up, down, status; what is on disk is the record, so any process may take over."""

import dataclasses
import fcntl
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from klipcluster import control_plane, node, node_claim, releases
from klipcluster.control_plane import Network
from klipcluster.errors import ClusterError
from klipcluster.go_build import COREDNS, PAUSE, binary
from klipcluster.places import clusters_folder
from klipcluster.ports import free_port
from klipcluster.processes import Processes

CONTROL_PLANE = ("kube-controller-manager", "kube-apiserver", "etcd")
FIRST_PORT, LAST_PORT = 10_300, 16_383
"""Of its components: none that Kubernetes has by default, and none that an outgoing connection is given."""


@dataclass(frozen=True)
class Running:
    """A cluster that is up."""

    name: str
    kubeconfig: Path
    server: str
    control_plane_only: bool
    audit_log: Path | None


@dataclass(frozen=True)
class _Record:
    """What `up` was asked for; kept in cluster.json."""

    control_plane_only: bool
    audit: bool
    fsync: bool
    network: Network
    kubernetes: str = releases.WITH_NODE


class Cluster:
    """A cluster; `up` and `down` may be repeated, and `up` mends what a kill -9 of everything left behind."""

    def __init__(self, name: str = "dev", state_dir: Path | None = None) -> None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", name):
            raise ClusterError(f"{name!r} cannot name a cluster: use up to 32 of a-z, 0-9 and '-', such as 'dev'")
        self.name = name
        # Resolved, since the kernel lists mounts by their real path.
        self.folder = ((state_dir or clusters_folder()) / name).resolve()
        self._lock_file = self.folder.with_suffix(".lock")
        self.processes = Processes(self.folder)

    def up(
        self,
        *,
        control_plane_only: bool = False,
        audit: bool = False,
        fsync: bool = False,
        kubernetes: str | None = None,
    ) -> Running:
        """Bring the cluster up. A healthy one is kept as it is; a broken one is removed and made anew.

        kubernetes is a minor release, such as "1.32"; without it $KLIPSTREAM_KUBERNETES says which, else it is the one
        that has a node. Raises ClusterError, also for a node of another release: only their control planes are built.
        """
        release = releases.chosen(kubernetes)
        if not control_plane_only:
            if release != releases.WITH_NODE:
                raise ClusterError(f"Kubernetes {release} is built as a control plane only: say --control-plane-only")
            node.check_rights()
            node.check_socket_path(self.folder)
        with self._lock():
            record = self._record()
            if record is not None and not self._matches(record, control_plane_only, audit, release):
                kind = "a control plane only" if record.control_plane_only else "a whole node"
                kind += f" of Kubernetes {record.kubernetes}"
                raise ClusterError(f"cluster {self.name} exists as {kind} with other options: `down` it first")
            if record is not None and self._healthy(record):
                return self._running(record)
            self._remove()
            program = binary(releases.program(release))
            record = _Record(control_plane_only, audit, fsync, self._network(control_plane_only), release)
            if not control_plane_only:
                # Before the folder: a refused node leaves nothing behind that a later `down` would act on.
                node_claim.claim(self.folder, record.network.node_address)
            self.folder.mkdir(parents=True)
            self._write_record(record)
            control_plane.prepare(self.folder, record.network)
            audit_log = self._audit_log(record)
            control_plane.start(self.processes, program, self.folder, record.network, audit_log=audit_log, fsync=fsync)
            if not control_plane_only:
                node.start(self.processes, self.folder, record.network, program, binary(COREDNS), binary(PAUSE))
            return self._running(record)

    def down(self) -> None:
        """Remove the cluster and everything that it made; nothing happens when there is none."""
        if not self.folder.exists() and not node_claim.is_ours(self.folder):
            return
        with self._lock():
            self._remove()
            self._lock_file.unlink(missing_ok=True)

    def running(self) -> Running:
        """The cluster as it was brought up. Raises ClusterError when it is not up."""
        record = self._record()
        dead = [] if record is None else [n for n in self._components(record) if not self.processes.alive(n)]
        if record is None:
            raise ClusterError(f"there is no cluster {self.name}: bring it up with `python -m klipcluster up`")
        if dead:
            raise ClusterError(f"cluster {self.name} is broken, {', '.join(dead)} died: `up` makes it anew")
        return self._running(record)

    def load_image(self, archive: Path) -> None:
        """Load an OCI archive into the node."""
        if self.running().control_plane_only:
            raise ClusterError(f"cluster {self.name} is a control plane only and runs no pods")
        node.load_image(self.folder, archive)

    def pid(self, component: str) -> int | None:
        """Pid of a component while it runs."""
        return self.processes.pid(component)

    def kill(self, component: str) -> None:
        """kill -9 of a component."""
        self.processes.kill(component)

    def freeze(self, component: str) -> None:
        """Stop a component in its tracks, as an overloaded machine would, until `thaw`."""
        self.processes.signal(component, signal.SIGSTOP)

    def thaw(self, component: str) -> None:
        """Let a frozen component go on."""
        self.processes.signal(component, signal.SIGCONT)

    def start(self, component: str) -> None:
        """Start a component again, as it was started before."""
        self.processes.start_again(component)

    @staticmethod
    def names(state_dir: Path | None = None) -> list[str]:
        """Names of all clusters on this machine."""
        folder = state_dir or clusters_folder()
        return sorted(path.parent.name for path in folder.glob("*/cluster.json")) if folder.exists() else []

    # --- the parts -------------------------------------------------------------------------------------------

    def _remove(self) -> None:
        record = self._record()
        for name in self.processes.names():
            if name not in (*CONTROL_PLANE, "containerd"):
                self.processes.stop(name)
        if node_claim.is_ours(self.folder) or (record is not None and not record.control_plane_only):
            node.remove(self.processes, self.folder, node.POD_RANGE)
        for name in CONTROL_PLANE:
            self.processes.stop(name)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _healthy(self, record: _Record) -> bool:
        """Every component lives and the API server answers; a busy one gets the time to do so."""
        if not all(self.processes.alive(name) for name in self._components(record)):
            return False
        return control_plane.answers(self.folder, record.network)

    def _network(self, control_plane_only: bool) -> Network:
        api, etcd, peer, manager, kubelet, proxy = (free_port(FIRST_PORT, LAST_PORT) for _ in range(6))
        return Network(
            api_port=api,
            etcd_port=etcd,
            etcd_peer_port=peer,
            controller_manager_port=manager,
            kubelet_port=kubelet,
            proxy_port=proxy,
            bind_address="127.0.0.1" if control_plane_only else "0.0.0.0",
            node_name="local",
            node_address="127.0.0.1" if control_plane_only else node.ADDRESS,
            service_range="10.96.0.0/16",
            service_address="10.96.0.1",
        )

    @staticmethod
    def _components(record: _Record) -> tuple[str, ...]:
        return CONTROL_PLANE if record.control_plane_only else (*CONTROL_PLANE, *node.COMPONENTS)

    @staticmethod
    def _matches(record: _Record, control_plane_only: bool, audit: bool, release: str) -> bool:
        same = record.control_plane_only == control_plane_only and record.kubernetes == release
        return same and (record.audit or not audit)

    def _audit_log(self, record: _Record) -> Path | None:
        return self.folder / "audit.log" if record.audit else None

    def _running(self, record: _Record) -> Running:
        return Running(
            name=self.name,
            kubeconfig=self.folder / "pki" / "admin.kubeconfig",
            server=record.network.server,
            control_plane_only=record.control_plane_only,
            audit_log=self._audit_log(record),
        )

    def _record(self) -> _Record | None:
        try:
            said = json.loads((self.folder / "cluster.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return _Record(**said | {"network": Network(**said["network"])})

    def _write_record(self, record: _Record) -> None:
        (self.folder / "cluster.json").write_text(json.dumps(dataclasses.asdict(record), indent=1))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One `up` or `down` of a cluster at a time."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with self._lock_file.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # `down` removes the file while others wait for it: whoever got the removed one holds no lock at all.
                if self._lock_file.exists() and os.path.samestat(os.fstat(file.fileno()), self._lock_file.stat()):
                    yield
                    return
