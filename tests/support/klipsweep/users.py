"""What people submit and do in a run, and what is promised to come of it whatever crashes."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from klipstream_kube import AlreadyExists, ApiError, Client, NotFound, Reflector, Resource, Unreachable

GROUP = "analysis.klipstream.io"
ANALYSIS_JOBS = Resource(GROUP, "v1alpha1", "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(GROUP, "v1alpha1", "analysisqueues", "AnalysisQueue")
FINISHED = frozenset({"Succeeded", "Failed", "Cancelled", "Rejected"})
LONG = "600"
"""Seconds of work that nobody waits for."""
PERMANENT = '{"error_code": "SourceGone", "message": "no such video", "retryable": false}'

QUEUES: dict[str, dict[str, Any]] = {
    "video": {"maxConcurrentJobs": 2, "maxRetries": 1},
    "stream": {"maxConcurrentJobs": 1, "maxRetries": 1},
    "closed": {"mode": "Draining"},
}


@dataclass(frozen=True, slots=True)
class Submission:
    """One AnalysisJob, and its end. `expected` is a final phase, or "" where its user deletes it."""

    name: str
    queue: str
    expected: str
    params: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)


SUBMISSIONS = (
    Submission("cancelled-at-work", "video", "Cancelled", {"fake_seconds": LONG}, {"priority": "URGENT"}),
    Submission("deleted-at-work", "video", "", {"fake_seconds": LONG}, {"priority": "URGENT"}),
    Submission("replayed", "video", "Succeeded", {"fake_exits": "1,1,0"}, {"priority": "HIGH"}),
    Submission("retried", "video", "Succeeded", {"fake_exits": "1,0"}),
    Submission("plain", "video", "Succeeded"),
    Submission("raised", "video", "Succeeded", spec={"priority": "LOW"}),
    Submission("posting", "stream", "Succeeded", {"fake_seconds": "0.8", "fake_posts": "1"}, {"priority": "HIGH"}),
    Submission("hopeless", "stream", "Failed", {"fake_exits": "66", "fake_message": PERMANENT}),
    Submission("cancelled-in-line", "stream", "Cancelled", {"fake_seconds": LONG}, {"priority": "LOW"}),
    Submission("turned-away", "closed", "Rejected"),
)


def queue_object(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An AnalysisQueue whose workers a fake kubelet plays."""
    shared = {"retryDelaysSeconds": [1], "workerTemplate": {"spec": {"containers": [{"name": "w", "image": "none"}]}}}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "AnalysisQueue",
        "metadata": {"name": name},
        "spec": shared | spec,
    }


def job_object(submission: Submission) -> dict[str, Any]:
    """The AnalysisJob of a submission."""
    spec = {"videoUrl": f"https://example.com/{submission.name}.mp4", "queueName": submission.queue}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "AnalysisJob",
        "metadata": {"name": submission.name},
        "spec": spec | ({"params": submission.params} if submission.params else {}) | submission.spec,
    }


async def insist(send: Callable[[], Any]) -> Any:
    """Send until the API server takes it, as a person would; None where the object is gone, or there already."""
    while True:
        try:
            return await send()
        except (NotFound, AlreadyExists):
            return None
        except Unreachable:
            pass
        except ApiError as error:
            if error.status not in (409, 429) and error.status < 500:
                raise
        await asyncio.sleep(0.2)


class Users:
    """Everybody who submits to the queues of one namespace. They reach the API server without any fault."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._changed = asyncio.Event()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.queues: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Submit everything, act when it is time, and return once all is as expected and every slot is free."""
        log = logging.getLogger("users")
        jobs, queues = (
            Reflector(
                self._client, resource, self._namespace, log=log,
                on_upsert=partial(self._put, seen), on_delete=partial(self._remove, seen),
            )
            for resource, seen in ((ANALYSIS_JOBS, self.jobs), (ANALYSIS_QUEUES, self.queues))
        )  # fmt: skip
        watching = [asyncio.create_task(reflector.run()) for reflector in (jobs, queues)]
        try:
            for name, spec in QUEUES.items():
                await insist(partial(self._create, ANALYSIS_QUEUES, queue_object(name, spec)))
            for submission in SUBMISSIONS:
                await insist(partial(self._create, ANALYSIS_JOBS, job_object(submission)))
            async with asyncio.TaskGroup() as people:
                people.create_task(self._replays("replayed"))
                people.create_task(self._changes_her_mind("cancelled-at-work", "Starting", "Running"))
                people.create_task(self._changes_her_mind("cancelled-in-line", "Queued", "Starting", "Running"))
                people.create_task(self._deletes("deleted-at-work"))
                people.create_task(self._hurries("raised"))
            await self._until(lambda: not self.missing())
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    def missing(self) -> list[str]:
        """What is not as it must end; empty once all is over."""
        wrong = [
            f"{submission.name} is {self._phase(submission.name) or 'gone'}, not {submission.expected or 'gone'}"
            for submission in SUBMISSIONS
            if self._phase(submission.name) != submission.expected
        ]
        for name in QUEUES:
            status = self.queues.get(name, {}).get("status") or {}
            if status.get("admitted") or status.get("active"):
                wrong.append(f"queue {name} still holds {len(status.get('admitted') or [])} slots")
        return wrong

    # --- what each does --------------------------------------------------------------------------------------

    async def _replays(self, name: str) -> None:
        await self._until(lambda: self._phase(name) == "Failed")
        await self._patch(name, {"replay": 1})

    async def _changes_her_mind(self, name: str, *phases: str) -> None:
        await self._until(lambda: self._phase(name) in phases and self._accepted(name))
        await self._patch(name, {"cancel": True})

    async def _hurries(self, name: str) -> None:
        await self._until(lambda: self._accepted(name))
        await self._patch(name, {"priority": "URGENT"})

    async def _deletes(self, name: str) -> None:
        await self._until(lambda: self._phase(name) in ("Starting", "Running"))
        await insist(lambda: self._client.delete(ANALYSIS_JOBS, name, self._namespace))

    # --- the parts -------------------------------------------------------------------------------------------

    async def _create(self, resource: Resource, body: dict[str, Any]) -> Any:
        return await self._client.create(resource, body, self._namespace)

    async def _patch(self, name: str, spec: dict[str, Any]) -> None:
        await insist(lambda: self._client.patch(ANALYSIS_JOBS, name, self._namespace, {"spec": spec}))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _phase(self, name: str) -> str:
        return str((self.jobs.get(name, {}).get("status") or {}).get("phase", ""))

    def _accepted(self, name: str) -> bool:
        return bool((self.jobs.get(name, {}).get("status") or {}).get("sequence"))

    def _put(self, seen: dict[str, dict[str, Any]], obj: dict[str, Any]) -> None:
        seen[obj["metadata"]["name"]] = obj
        self._changed.set()

    def _remove(self, seen: dict[str, dict[str, Any]], obj: dict[str, Any]) -> None:
        seen.pop(obj["metadata"]["name"], None)
        self._changed.set()
