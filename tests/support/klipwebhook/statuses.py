"""What the operator writes into the status of an AnalysisJob, step by step."""

from datetime import UTC, datetime
from typing import Any

from klipstream_api import names
from klipstream_api.meta import rfc3339
from klipstream_kube import Client, Resource

ANALYSIS_JOBS = Resource(names.GROUP, names.VERSION, "analysisjobs", "AnalysisJob")
ANALYSIS_QUEUES = Resource(names.GROUP, names.VERSION, "analysisqueues", "AnalysisQueue")
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}


def moment() -> str:
    """Now, as the operator writes it."""
    return rfc3339(datetime.now(UTC))


async def make_queue(client: Client, namespace: str, name: str, *endpoints: dict[str, Any]) -> None:
    """A queue with endpoints, and nobody who serves it."""
    spec = {"workerTemplate": TEMPLATE, "endpoints": list(endpoints)}
    body = {"apiVersion": names.API_VERSION, "kind": "AnalysisQueue", "metadata": {"name": name}, "spec": spec}
    await client.create(ANALYSIS_QUEUES, body, namespace, retry=True)


class PlayedJob:
    """An AnalysisJob, and the statuses that it is given."""

    def __init__(self, client: Client, namespace: str, name: str, queue: str = "default") -> None:
        self._client, self.namespace, self.name, self.queue = client, namespace, name, queue
        self.uid = ""
        self.attempt = 0
        self.attempts: list[dict[str, Any]] = []

    async def submit(self, **spec: Any) -> None:
        """Create it."""
        body = {
            "apiVersion": names.API_VERSION, "kind": "AnalysisJob", "metadata": {"name": self.name},
            "spec": {"videoUrl": "https://example.com/v.mp4", "queueName": self.queue} | spec,
        }  # fmt: skip
        created = await self._client.create(ANALYSIS_JOBS, body, self.namespace, retry=True)
        self.uid = created["metadata"]["uid"]

    async def accept(self) -> None:
        """A queue took it."""
        await self.write(phase="Queued", queueName=self.queue, queuedAt=moment(), sequence=1)

    async def start(self, also_accepted: bool = False) -> None:
        """An attempt begins; a busy API server may show both changes at once."""
        self.attempt += 1
        now = moment()
        accepted = {"queueName": self.queue, "queuedAt": now, "sequence": 1} if also_accepted else {}
        self.attempts.append({"attempt": self.attempt, "jobName": "j", "jobUID": "u", "startedAt": now})
        await self.write(phase="Starting", attempt=self.attempt, attempts=self.attempts, startedAt=now, **accepted)

    async def progress(self, percentage: float, stage: str) -> None:
        """The worker posted."""
        posted = {"attempt": self.attempt, "percentage": percentage, "stage": stage, "updatedAt": moment(),
                  "estimatedCompletionSeconds": 100.0}  # fmt: skip
        await self.write(phase="Running", progress=posted)

    async def retry(self) -> None:
        """The attempt failed, and another one follows."""
        self.attempts[-1] |= {"finishedAt": moment(), "failureClass": "Transient", "reason": "Error"}
        await self.write(phase="BackingOff", attempts=self.attempts)

    async def finish(self, phase: str = "Succeeded") -> None:
        """It ends."""
        now = moment()
        changes: dict[str, Any] = {"phase": phase, "finishedAt": now}
        if self.attempts:
            self.attempts[-1] |= {"finishedAt": now}
            if phase == "Failed":
                self.attempts[-1] |= {"failureClass": "Transient", "reason": "Error"}
            changes["attempts"] = self.attempts
        await self.write(**changes)

    async def replay(self, number: int) -> None:
        """A failed one is queued again, as the operator does it."""
        body = {"spec": {"replay": number}}
        await self._client.patch(ANALYSIS_JOBS, self.name, self.namespace, body)
        await self.write(phase="Queued", observedReplay=number, queuedAt=moment(), sequence=2, finishedAt=None)

    async def delete(self) -> None:
        """A user deletes it."""
        await self._client.delete(ANALYSIS_JOBS, self.name, self.namespace)

    async def status(self) -> dict[str, Any]:
        """As it is."""
        return dict((await self._client.get(ANALYSIS_JOBS, self.name, self.namespace))["status"])

    async def write(self, **status: Any) -> None:
        """Change some of it."""
        await self._client.patch_status(ANALYSIS_JOBS, self.name, self.namespace, {"status": status})
