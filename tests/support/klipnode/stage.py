"""A real node with the operator beside it: what is applied to it, and what a watch shows of it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from klipcluster import Cluster
from klipcluster.node import ADDRESS
from klipfake.ports import free_port
from klipfake.processes import Operator
from klipstream_api import names
from klipstream_kube import (
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    AlreadyExists,
    Client,
    NotFound,
    Reflector,
    Resource,
    load_connection,
)

ANALYSIS_JOBS = Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(names.GROUP, names.VERSION, "analysisqueues", "AnalysisQueue")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
IMAGE = "localhost/klipstream-pipeline:dev"
PATIENCE_SECONDS = 150.0
# The script stands in the job's params, so that one worker template serves all cases.
RUN_SCRIPT = (
    'import json, os; os.execvp("sh", ["sh", "-c", json.load(open(os.environ["ANALYSIS_PARAMS_FILE"]))["script"]])'
)

FINAL = ("Succeeded", "Failed", "Cancelled", "Rejected")
JsonObject = dict[str, Any]


class NeverHappened(AssertionError):
    """What a test waits for did not come; the message shows what was there instead."""


def worker_template(container: JsonObject | None = None, spec: JsonObject | None = None) -> JsonObject:
    """A worker that runs the script of its job's params."""
    worker: JsonObject = {"name": "worker", "image": IMAGE, "command": ["python3", "-c", RUN_SCRIPT]}
    worker |= container or {}
    pod: JsonObject = {"containers": [worker], "terminationGracePeriodSeconds": 1}
    return {"spec": pod | (spec or {})}


@dataclass
class Stage:
    """One namespace of a real node."""

    client: Client
    cluster: Cluster
    operator: Operator
    namespace: str
    objects: dict[str, dict[str, JsonObject]] = field(default_factory=lambda: defaultdict(dict))
    """By kind and name, as last seen."""
    history: dict[str, list[JsonObject]] = field(default_factory=lambda: defaultdict(list))
    """Every state of each AnalysisJob that the watch showed, by name."""
    problems: dict[str, Exception] = field(default_factory=dict)
    """What went wrong while something was done to a job, by its name."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # --- what is done ----------------------------------------------------------------------------------------

    async def queue(self, name: str, **spec: Any) -> None:
        """Make a queue."""
        spec = {"workerTemplate": worker_template()} | spec
        body = {"apiVersion": names.API_VERSION, "kind": "AnalysisQueue", "metadata": {"name": name}, "spec": spec}
        await self.client.create(ANALYSIS_QUEUES, body, self.namespace)

    async def submit(self, name: str, queue: str, script: str, **spec: Any) -> None:
        """Submit a job whose worker runs a shell script."""
        spec = {"videoUrl": f"https://example.com/{name}.mp4", "queueName": queue, "params": {"script": script}} | spec
        body = {"apiVersion": names.API_VERSION, "kind": "AnalysisJob", "metadata": {"name": name}, "spec": spec}
        await self.client.create(ANALYSIS_JOBS, body, self.namespace)

    async def change_job(self, name: str, **spec: Any) -> None:
        """kubectl patch aj."""
        await self.client.patch(ANALYSIS_JOBS, name, self.namespace, {"spec": spec})

    async def change_queue(self, name: str, **spec: Any) -> None:
        """kubectl patch aq."""
        await self.client.patch(ANALYSIS_QUEUES, name, self.namespace, {"spec": spec})

    async def scale_queue(self, name: str, replicas: int) -> None:
        """kubectl scale aq."""
        body = {"spec": {"replicas": replicas}}
        await self.client.patch(ANALYSIS_QUEUES, name, self.namespace, body, subresource="scale")

    async def block_cpu(self, name: str, cpu: str) -> None:
        """A pod that takes up the node's cpu, but uses none."""
        container: JsonObject = {"name": "blocker", "image": IMAGE, "command": ["sleep", "3600"]}
        container["resources"] = {"requests": {"cpu": cpu}}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        await self.client.create(PODS, {"metadata": {"name": name}, "spec": spec}, self.namespace)

    async def delete_pod(self, name: str) -> None:
        """kubectl delete pod."""
        await self.client.delete(PODS, name, self.namespace)

    async def evict_pod(self, name: str) -> None:
        """What kubectl drain does to a pod."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": self.namespace}}
        await self.client.request("POST", PODS.path(self.namespace, name, "eviction"), body=body)

    # --- what is seen ----------------------------------------------------------------------------------------

    def status(self, name: str) -> JsonObject:
        """The status of an AnalysisJob as last seen."""
        return dict(self.objects["AnalysisJob"].get(name, {}).get("status", {}))

    def phase(self, name: str) -> str:
        return str(self.status(name).get("phase", ""))

    def queue_status(self, name: str) -> JsonObject:
        return dict(self.objects["AnalysisQueue"].get(name, {}).get("status", {}))

    def made_for(self, name: str, kind: str) -> list[JsonObject]:
        """The Kubernetes Jobs, or the pods, of an AnalysisJob."""
        uid = self.objects["AnalysisJob"].get(name, {}).get("metadata", {}).get("uid")
        return [
            obj for obj in self.objects[kind].values()
            if uid and (obj["metadata"].get("labels") or {}).get(names.JOB_UID_LABEL) == uid
        ]  # fmt: skip

    def pods(self, name: str) -> list[JsonObject]:
        """The pods of an AnalysisJob that are not over."""
        return [pod for pod in self.made_for(name, "Pod") if pod["status"].get("phase") not in ("Succeeded", "Failed")]

    def finished(self, name: str) -> bool:
        """Whether a job reached a final phase, and its slot is free."""
        final = self.phase(name) in FINAL
        held = self.queue_status(str(self.status(name).get("queueName"))).get("admitted", ())
        return final and name not in {entry["name"] for entry in held}

    def event_reasons(self, name: str) -> list[str]:
        """Reasons of the Kubernetes events of an AnalysisJob, in order: their names are numbered."""
        about = [
            event for event in self.objects["Event"].values()
            if event["involvedObject"]["kind"] == "AnalysisJob" and event["involvedObject"]["name"] == name
        ]  # fmt: skip
        return [str(event["reason"]) for event in sorted(about, key=lambda event: str(event["metadata"]["name"]))]

    def went_through(self, name: str, sees: Callable[[JsonObject], bool]) -> bool:
        """Whether some status of a job was like that."""
        return any(sees(each.get("status", {})) for each in self.history[name])

    def began(self, name: str) -> int:
        """resourceVersion with which a job was first seen to be started: orders what happened in the cluster."""
        return self._first(name, "Starting", "Running")

    def ended(self, name: str) -> int:
        """resourceVersion with which a job was first seen in a final phase."""
        return self._first(name, *FINAL)

    def _first(self, name: str, *phases: str) -> int:
        return next(
            int(each["metadata"]["resourceVersion"])
            for each in self.history[name]
            if each.get("status", {}).get("phase") in phases
        )

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it holds. Raises NeverHappened."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not holds():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                phases = {name: self.phase(name) for name in self.objects["AnalysisJob"]}
                raise NeverHappened(f"never: {what}; {phases}\n{self.operator.said()[-3000:]}") from None

    async def until_running(self, name: str) -> str:
        """Wait until a container of the job runs; the name of its pod."""

        def container_runs() -> bool:
            statuses = [s for pod in self.pods(name) for s in pod["status"].get("containerStatuses", ())]
            return any("running" in each["state"] for each in statuses)

        await self.until(container_runs, f"a container of {name} runs")
        return str(self.pods(name)[0]["metadata"]["name"])

    # --- the watch -------------------------------------------------------------------------------------------

    def seen(self, kind: str, obj: JsonObject) -> None:
        self.objects[kind][obj["metadata"]["name"]] = obj
        if kind == "AnalysisJob":
            self.history[obj["metadata"]["name"]].append(obj)
        self._changed.set()

    def gone(self, kind: str, obj: JsonObject) -> None:
        self.objects[kind].pop(obj["metadata"]["name"], None)
        self._changed.set()


@asynccontextmanager
async def on_stage(
    cluster: Cluster, namespace: str, crds: Path, logs: Path, **environment: str
) -> AsyncIterator[Stage]:
    """A namespace with the custom resources and an operator of its own, which pods of the node reach; `environment` are
    more settings of it."""
    running = cluster.running()
    port = free_port()
    operator = Operator(
        running.kubeconfig, logs / "operator.log", namespace,
        KLIPSTREAM_LEASE_SECONDS="15",  # as in production: a node's start takes all the processors there are
        KLIPSTREAM_PROGRESS_HOST="0.0.0.0",
        KLIPSTREAM_PROGRESS_PORT=str(port),
        KLIPSTREAM_PROGRESS_URL=f"http://{ADDRESS}:{port}/v1/progress",
        **environment,
    )  # fmt: skip
    async with Client(load_connection(str(running.kubeconfig)), user_agent="klipnode") as client:
        await _install_crds(client, crds)
        with suppress(AlreadyExists):
            await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        operator.start()
        stage = Stage(client, cluster, operator, namespace)
        feeds = [
            Reflector(
                client, resource, namespace, log=logging.getLogger("klipnode"),
                on_upsert=partial(stage.seen, resource.kind), on_delete=partial(stage.gone, resource.kind),
            )
            for resource in (ANALYSIS_JOBS, ANALYSIS_QUEUES, EVENTS, JOBS, PODS)
        ]  # fmt: skip
        tasks = [asyncio.create_task(feed.run()) for feed in feeds]
        try:
            await asyncio.gather(*(feed.synced.wait() for feed in feeds))
            yield stage
        finally:
            for task in tasks:
                task.cancel()
            with suppress(NotFound):
                await client.delete(NAMESPACES, namespace)
            operator.kill()


async def _install_crds(client: Client, folder: Path) -> None:
    """Create what is not there yet, and wait until it is served."""
    for path in sorted(folder.glob("*.yaml")):
        body = yaml.safe_load(path.read_text())
        with suppress(AlreadyExists):
            await client.create(CRDS, body)
        name = body["metadata"]["name"]
        while not _established(await client.get(CRDS, name)):
            await asyncio.sleep(0.1)


def _established(crd: JsonObject) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
