"""What a run submits and waits for: the custom resources, a queue, AnalysisJobs, bare Jobs."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from klipbench.fake_kubelet import RUN_SECONDS_ANNOTATION, FakeKubelet, Run, as_annotated
from klipbench.variant import Submission
from klipjudge.history import Request, as_written
from klipjudge.vocabulary import FINISHED, GROUP, PRIORITIES
from klipstream_kube import JOBS, NAMESPACES, Client, Resource

CRD_FOLDER = Path(__file__).resolve().parents[3] / "crds"
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
ANALYSIS_JOBS = Resource(GROUP, "v1alpha1", "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(GROUP, "v1alpha1", "analysisqueues", "AnalysisQueue")
CREATES_AT_ONCE = 32
QUEUE = "bench"
POD_SPEC = {"containers": [{"name": "worker", "image": "none"}]}


async def install_crds(client: Client) -> None:
    """Apply crds/ and wait until the API server serves them. Raises FileNotFoundError, TimeoutError."""
    files = sorted(CRD_FOLDER.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"{CRD_FOLDER} holds no custom resource definitions: generate them with `make crds`")
    names = []
    for file in files:
        definition = yaml.safe_load(file.read_text())
        names.append(definition["metadata"]["name"])
        await client.apply(CRDS, definition, field_manager="klipbench", force=True)
    async with asyncio.timeout(30):
        for name in names:
            while not _established(await client.get(CRDS, name)):
                await asyncio.sleep(0.1)


def _established(definition: dict[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


async def create_namespace(client: Client, name: str) -> None:
    """Create a namespace."""
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def create_queue(client: Client, namespace: str, limit: int, *, mode: str = "Running", name: str = QUEUE) -> None:
    """Create an AnalysisQueue with that many slots and room for every job."""
    spec = {
        "mode": mode,
        "maxConcurrentJobs": limit,
        "maxQueueSize": 1_000_000,
        "workerTemplate": {"spec": POD_SPEC},
    }
    body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "AnalysisQueue", "metadata": {"name": name}, "spec": spec}
    await client.create(ANALYSIS_QUEUES, body, namespace)


async def set_mode(client: Client, namespace: str, mode: str) -> None:
    """Pause, resume or drain the queue."""
    await client.patch(ANALYSIS_QUEUES, QUEUE, namespace, {"spec": {"mode": mode}})


async def set_priority(client: Client, namespace: str, name: str, priority: str) -> None:
    """Change the priority of an AnalysisJob, as a user does."""
    await client.patch(ANALYSIS_JOBS, name, namespace, {"spec": {"priority": priority}})


def analysis_job(name: str, priority: str, video_url: str) -> dict[str, Any]:
    """An AnalysisJob of the queue `bench`."""
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "AnalysisJob",
        "metadata": {"name": name},
        "spec": {"queueName": QUEUE, "priority": priority, "videoUrl": video_url},
    }


async def submit(client: Client, namespace: str, count: int, chance: random.Random) -> None:
    """Create AnalysisJobs of random priorities, 32 requests at a time."""
    priorities = chance.choices(list(PRIORITIES), k=count)
    await at_once(
        client.create(
            ANALYSIS_JOBS,
            analysis_job(f"job-{number:05d}", priority, f"https://videos.example.com/{number}.mp4"),
            namespace,
        )
        for number, priority in enumerate(priorities)
    )


async def submit_bare_jobs(client: Client, namespace: str, count: int, seconds: float = 1.0) -> None:
    """Create Kubernetes Jobs that nobody queues, 32 requests at a time: what the cluster itself is able to do."""
    annotations = {RUN_SECONDS_ANNOTATION: str(seconds)}
    template = {"metadata": {"annotations": annotations}, "spec": POD_SPEC | {"restartPolicy": "Never"}}
    await at_once(
        client.create(
            JOBS,
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": f"bare-{number:05d}"},
                "spec": {"backoffLimit": 0, "podReplacementPolicy": "Failed", "template": template},
            },
            namespace,
        )
        for number in range(count)
    )


async def at_once(requests: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Send requests, 32 at a time."""
    slots = asyncio.Semaphore(CREATES_AT_ONCE)

    async def one(request: Coroutine[Any, Any, Any]) -> None:
        async with slots:
            await request

    async with asyncio.TaskGroup() as tasks:
        for request in requests:
            tasks.create_task(one(request))


async def submit_planned(
    client: Client,
    namespace: str,
    plan: Iterable[Submission],
    changed: Callable[[dict[str, Any]], object] | None = None,
) -> None:
    """Create the AnalysisJobs of a run as `changed` leaves them, 32 requests at a time, each when its time has come."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(each: Submission) -> None:
        body = analysis_job(
            each.name, each.of.priority, f"https://videos.example.com/{each.of.seconds}/{each.name}.mp4"
        )
        if changed is not None:
            changed(body)
        await client.create(ANALYSIS_JOBS, body, namespace, retry=True)

    slots = asyncio.Semaphore(CREATES_AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for each in plan:
            if (early := began + each.after_seconds - loop.time()) > 0:
                await asyncio.sleep(early)
            await slots.acquire()
            tasks.create_task(one(each)).add_done_callback(lambda _: slots.release())


async def queue_status(client: Client, namespace: str, name: str = QUEUE) -> dict[str, Any]:
    """What a queue says of itself."""
    return (await client.get(ANALYSIS_QUEUES, name, namespace)).get("status") or {}


async def unfinished(client: Client, namespace: str) -> int:
    """How many AnalysisJobs of a namespace are in no final phase."""
    jobs, _ = await client.list(ANALYSIS_JOBS, namespace)
    return sum(1 for job in jobs if (job.get("status") or {}).get("phase") not in FINISHED)


async def as_left(client: Client, namespace: str) -> list[Request]:
    """The AnalysisJobs of a namespace at the end of a run, for the judge."""
    jobs, _ = await client.list(ANALYSIS_JOBS, namespace)
    return as_written(ANALYSIS_JOBS.qualified_name, jobs)


async def unfinished_bare_jobs(client: Client, namespace: str) -> int:
    """How many Kubernetes Jobs of a namespace have no completion time."""
    jobs, _ = await client.list(JOBS, namespace)
    return sum(1 for job in jobs if "completionTime" not in (job.get("status") or {}))


def run_of(pod: dict[str, Any]) -> Run:
    """The run time that the pod's video is named after; that of its annotation where it has no video."""
    for each in pod["spec"]["containers"][0].get("env") or ():
        if each["name"] == "ANALYSIS_VIDEO_URL":
            return Run(float(each["value"].split("/")[3]))
    return as_annotated(pod)


class RandomRuns:
    """Run times from half to one and a half of `seconds`, drawn in the order in which pods appear."""

    def __init__(self, seconds: float, chance: random.Random) -> None:
        self._seconds = seconds
        self._chance = chance

    def __call__(self, pod: dict[str, Any]) -> Run:
        return Run(self._seconds * self._chance.uniform(0.5, 1.5))


@asynccontextmanager
async def kubelet_running(kubelet: FakeKubelet) -> AsyncIterator[None]:
    """Run a fake kubelet beside the body; its error ends the body."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(kubelet.run())
        yield
        task.cancel()
