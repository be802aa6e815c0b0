"""Runs the cases on a real node and keeps what the API server showed of each."""

import asyncio
import json
import os
import signal
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from klipcluster import Cluster
from klipcluster.places import clusters_folder
from kliprecord.life import Life, attempt_of
from kliprecord.trim import trim
from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_kube import JOBS, PODS, Client, NotFound, Resource
from klipstream_operator.jobs import WorkerContract, make_job

NAMESPACE = "recording"
IMAGE = "localhost/klipstream-pipeline:dev"
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
JsonObject = dict[str, Any]


@dataclass
class Recorder:
    """One cluster, the lives that are being recorded on it, and what a case may do to them."""

    client: Client
    cluster: Cluster
    folder: Path
    lives: dict[str, Life] = field(default_factory=dict)

    # --- what the watch brings -------------------------------------------------------------------------------

    def saw(self, kind: str, obj: JsonObject) -> None:
        life = self.lives.get(attempt_of(obj) or "")
        if life is not None:
            life.saw(kind, obj)

    def lost(self, kind: str, obj: JsonObject) -> None:
        """A deletion names the object; after a relist it no longer shows its labels."""
        uid = obj["metadata"]["uid"]
        for life in self.lives.values():
            if uid in life.pods or (life.job is not None and life.job["metadata"]["uid"] == uid):
                life.lost(kind, obj)

    # --- what a case does ------------------------------------------------------------------------------------

    async def launch(self, spec: JsonObject, timeout_seconds: int) -> Life:
        """Create the Job that the operator would create for an attempt whose worker template has this spec."""
        job_uid = str(uuid.uuid4())
        life = self.lives[job_uid] = Life(job_uid)
        job = AnalysisJob.from_wire({
            "metadata": {"name": "recorded", "namespace": NAMESPACE, "uid": job_uid, "resourceVersion": "1"},
            "spec": {"videoUrl": "https://example.com/v.mp4", "timeoutSeconds": timeout_seconds},
        })  # fmt: skip
        queue = AnalysisQueue.from_wire({
            "metadata": {"name": "recorded", "namespace": NAMESPACE, "uid": "q", "resourceVersion": "1"},
            "spec": {"workerTemplate": {"spec": spec}},
        })  # fmt: skip
        manifest = make_job(job, queue, 1, WorkerContract("http://127.0.0.1/v1/progress"))
        del manifest["metadata"]["ownerReferences"]  # there is no AnalysisJob, and the garbage collector looks
        await self.client.create(JOBS, manifest, NAMESPACE)
        return life

    async def suspend(self, life: Life) -> None:
        """Suspend the Job, as the operator stops an attempt."""
        assert life.job is not None
        await self.client.patch(JOBS, life.job["metadata"]["name"], NAMESPACE, {"spec": {"suspend": True}})

    async def delete_pod(self, life: Life) -> None:
        """kubectl delete pod."""
        await self.client.delete(PODS, life.pod["metadata"]["name"], NAMESPACE)

    async def delete_job(self, life: Life) -> None:
        """kubectl delete job."""
        assert life.job is not None
        await self.client.delete(JOBS, life.job["metadata"]["name"], NAMESPACE)

    async def evict(self, life: Life) -> None:
        """What kubectl drain does to a pod."""
        name = life.pod["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
        await self.client.request("POST", PODS.path(NAMESPACE, name, "eviction"), body=body)

    async def end_lost_pod(self, life: Life) -> None:
        """What the operator does after nodeLost.seconds (its reconciler, rule 4)."""
        pod = life.pod
        condition = {
            "type": "DisruptionTarget", "status": "True", "reason": "NodeLost",
            "message": "The pod's node did not answer; the analysis queue ended the pod.",
            "lastTransitionTime": pod["metadata"]["deletionTimestamp"],
        }  # fmt: skip
        kept = [each for each in pod["status"]["conditions"] if each["type"] != "DisruptionTarget"]
        status = {"phase": "Failed", "reason": "NodeLost", "conditions": [*kept, condition]}
        await self.client.patch(PODS, pod["metadata"]["name"], NAMESPACE, {"status": status}, subresource="status")
        await self.client.delete(PODS, pod["metadata"]["name"], NAMESPACE, uid=pod["metadata"]["uid"])

    async def taint(self, *taints: JsonObject) -> None:
        """Give the node exactly these taints of ours."""
        node = await self.client.get(NODES, self.node)
        kept = [each for each in node["spec"].get("taints", ()) if not each["key"].startswith("recording")]
        await self.client.patch(NODES, self.node, None, {"spec": {"taints": [*kept, *taints]}})

    async def has_node_condition(self, kind: str, status: str) -> bool:
        """Whether the node says so."""
        try:
            node = await self.client.get(NODES, self.node)
        except NotFound:
            return False
        return any(each["type"] == kind and each["status"] == status for each in node["status"]["conditions"])

    async def until_node(self, kind: str, status: str) -> None:
        """Wait for a condition of the node."""
        while not await self.has_node_condition(kind, status):
            await asyncio.sleep(0.5)

    async def delete_node(self) -> None:
        """kubectl delete node."""
        await self.client.delete(NODES, self.node)

    async def restart_kubelet(self, thresholds: dict[str, str]) -> None:
        """Restart the kubelet with other eviction thresholds beside its own; {} for its own alone."""
        path = self.cluster.folder / "kubelet.yaml"
        kept = path.with_suffix(".kept")
        if not kept.exists():
            kept.write_text(path.read_text())
        configuration = yaml.safe_load(kept.read_text())
        configuration["evictionHard"] |= thresholds
        path.write_text(yaml.safe_dump(configuration))
        self.cluster.kill("kubelet")
        self.cluster.start("kubelet")

    async def restart_kubelet_near(self, resource: str, margin_bytes: int) -> None:
        """Restart the kubelet so that it evicts pods once that much more memory or disk is used."""
        path = f"{NODES.path(None, self.node)}/proxy/stats/summary"
        node = (await self.client.request("GET", path))["node"]
        available = node["memory" if resource == "memory" else "fs"]["availableBytes"]
        await self.restart_kubelet({f"{resource}.available": str(available - margin_bytes)})
        await asyncio.sleep(5)  # the kubelet has looked once, and posted its status
        await self.until_node("Ready", "True")

    async def load_images(self) -> None:
        """Load the workers' image, and the one of the pods' sandboxes, into the node."""
        for archive in (Path("build/images/pipeline.tar"), self.cluster.folder / "pause.tar"):
            await asyncio.to_thread(self.cluster.load_image, archive)

    async def crash_node(self) -> None:
        """End kubelet, containerd and every container at once, then start the first two, as a reboot does."""
        listing = ["ctr", "--address", str(self.cluster.folder / "containerd.sock"), "--namespace", "k8s.io"]
        tasks = subprocess.run([*listing, "tasks", "list"], capture_output=True, text=True, check=True).stdout
        first = [int(line.split()[1]) for line in tasks.splitlines()[1:] if line.split()[2] == "RUNNING"]
        # A shim would report how its container ended; a machine that loses its power does not.
        shims = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in first}
        for component in ("kubelet", "containerd"):
            self.cluster.kill(component)
        for pid in (*shims, *first):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.cluster.start("containerd")
        while subprocess.run([*listing, "version"], capture_output=True, check=False).returncode != 0:
            await asyncio.sleep(0.1)
        self.cluster.start("kubelet")  # it ends where it finds no containerd

    @property
    def node(self) -> str:
        """The name of the only node."""
        return "local"

    # --- the file --------------------------------------------------------------------------------------------

    def write(self, name: str, how: str, life: Life, version: str) -> Path:
        """Write a recording; one line an event, so that a difference shows the event that differs."""
        paths = {str(self.cluster.folder / "kubelet"): "/var/lib/kubelet", str(clusters_folder()): "/var/lib/cluster"}
        lines: list[str] = []
        for event in life.events:
            obj = event["object"] if event["what"] == "gone" else trim(event["object"], paths)
            lines.append(json.dumps(event | {"object": obj}, separators=(",", ":")))
        head = json.dumps({"case": name, "how": how, "kubernetes": version, "source": "recorded"}, indent=1)
        events = ",\n".join(f"  {line}" for line in lines)
        path = self.folder / f"{name}.json"
        path.write_text(f'{head[:-2]},\n "events": [\n{events}\n ]\n}}\n')
        return path
