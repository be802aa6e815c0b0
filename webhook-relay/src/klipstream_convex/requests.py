"""What apps ask of the cluster through Convex: submit, cancel, priority, retry. Carried out once, answered once.

An answer that is lost is given again after the request was looked at again, so each of them finds what it did before:
a job has the request's id, a cancel and a priority are what the spec says already, a replay is counted.
"""

import hashlib
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from klipstream_api import AnalysisJob, Phase
from klipstream_convex.deployment import Deployment
from klipstream_convex.shadow import Shadow
from klipstream_kube import AlreadyExists, ApiError, Client, NotFound, Resource, TooManyRequests

log = logging.getLogger(__name__)
PRESENT_SECONDS = 30.0
"""A job that nobody knows may have been created a moment ago; after this it is refused."""
FIRST_MILLISECONDS = datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000
END_MILLISECONDS = datetime(3000, 1, 1, tzinfo=UTC).timestamp() * 1000
"""Between these lies a notBefore, as at the REST gateway."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")


class Refusal(Exception):
    """The cluster does not do it; the message is for the one who asked."""


class NotYet(Exception):
    """It cannot be said yet."""


@dataclass(slots=True)
class Requests:
    """Carries out what apps ask."""

    deployment: Deployment
    client: Client
    jobs: Resource
    shadow: Shadow
    cluster: str
    namespace: str
    now: Callable[[], datetime]
    carried_out: int = 0
    refused: int = 0
    _unknown_since: dict[str, datetime] = field(default_factory=dict)

    async def look(self) -> int:
        """Carry out what is pending; how many were answered. Raises Away, FunctionFailed and Unreachable."""
        pending = await self.deployment.query("sync:pending", cluster=self.cluster)
        settled: list[dict[str, str]] = []
        blocked: set[str] = set()
        for request in pending:
            if request["jobId"] in blocked:
                continue  # in order, for each job
            try:
                await self._carry_out(request)
            except Refusal as refusal:
                self.refused += 1
                log.warning("A %s request for job %s is refused: %s", request["kind"], request["jobId"], refusal)
                settled.append({"id": request["_id"], "error": str(refusal)[:1000]})
            except (NotYet, TooManyRequests):
                blocked.add(request["jobId"])
            else:
                self.carried_out += 1
                settled.append({"id": request["_id"]})
        if settled:
            await self.deployment.mutation("sync:settle", settled=settled)
        for answered in settled:
            self._unknown_since.pop(answered["id"], None)
        return len(settled)

    async def _carry_out(self, request: dict[str, Any]) -> None:
        try:
            if request["kind"] == "submit":
                await self._submit(request)
            else:
                await self._change(request)
        except TooManyRequests:
            raise
        except ApiError as error:
            if error.status >= 500:
                raise NotYet from error
            raise Refusal(error.message) from error

    async def _submit(self, request: dict[str, Any]) -> None:
        manifest = job_of(request, self.namespace)
        name = manifest["metadata"]["name"]
        try:
            await self.client.create(self.jobs, manifest, self.namespace)
        except AlreadyExists as error:
            there = await self.client.get(self.jobs, name, self.namespace)
            if there["spec"].get("jobId") != request["jobId"]:
                raise Refusal(f"An AnalysisJob named {name} exists already and is another one.") from error

    async def _change(self, request: dict[str, Any]) -> None:
        job = await self._find(request)
        match request["kind"]:
            case "cancel":
                change: dict[str, Any] = {"cancel": True}
            case "priority":
                change = {"priority": request["priority"]}
            case _:
                replay = next_replay(job, _moment(request["_creationTime"]))
                if replay is None:
                    return
                change = {"replay": replay}
        metadata = {"uid": job.uid}  # not one that took the name meanwhile
        await self.client.patch(
            self.jobs, job.metadata.name, job.metadata.namespace, {"metadata": metadata, "spec": change}
        )

    async def _find(self, request: dict[str, Any]) -> AnalysisJob:
        """The job, read live."""
        uid = self.shadow.by_job_id.get(request["jobId"])
        seen = self.shadow.objects["job"].get(uid) if uid is not None else None
        if seen is None:
            since = self._unknown_since.setdefault(request["_id"], self.now())
            if (self.now() - since).total_seconds() < PRESENT_SECONDS:
                raise NotYet
            raise Refusal(f"No job in the cluster has the id {request['jobId']}.")
        try:
            return AnalysisJob.from_wire(await self.client.get(self.jobs, seen.name, seen.namespace))
        except NotFound as error:
            raise Refusal(f"The job {seen.namespace}/{seen.name} was deleted.") from error


def job_of(request: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The AnalysisJob that a submission asks for (pure). Its name follows from the id, so it is created once.

    Raises Refusal for a number that is none of its field.
    """
    asked = request["submission"]
    job_id = request["jobId"]
    lower = job_id.lower()
    suffix = lower if NAME.fullmatch(lower) else hashlib.sha256(job_id.encode()).hexdigest()[:32]
    spec: dict[str, Any] = {"jobId": job_id, "videoUrl": asked["videoUrl"]}
    names = {"videoId": "videoId", "queue": "queueName", "type": "type", "priority": "priority", "sealed": "sealed"}
    spec |= {to: asked[name] for name, to in names.items() if name in asked}
    spec |= {name: _whole(name, asked[name]) for name in ("timeoutSeconds", "maxRetries") if name in asked}
    if asked.get("params"):
        spec["params"] = {each["name"]: each["value"] for each in asked["params"]}
    if "notBefore" in asked:
        spec["notBefore"] = _not_before(asked["notBefore"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    if "callbackUrl" in asked:
        spec["callback"] = {"url": asked["callbackUrl"]}
    return {
        "apiVersion": "analysis.klipstream.io/v1alpha1",
        "kind": "AnalysisJob",
        "metadata": {"name": f"convex-{suffix}", "namespace": namespace},
        "spec": spec,
    }


def next_replay(job: AnalysisJob, asked_at: datetime) -> int | None:
    """The spec.replay that runs a job again; None where it was raised since it was asked for.

    Raises Refusal for a job that did not fail for good, and NotYet for one that is about to be replayed.
    """
    status = job.status
    if job.spec.replay > status.observed_replay:
        return None
    if status.phase is Phase.FAILED:
        return max(job.spec.replay, status.observed_replay) + 1
    if status.queued_at is not None and status.observed_replay > 0 and status.queued_at >= asked_at:
        return None
    raise Refusal(f"Only a job that failed for good is run again; this one is {status.phase.value}.")


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _not_before(milliseconds: float) -> datetime:
    if not FIRST_MILLISECONDS <= milliseconds < END_MILLISECONDS:  # neither is what is not a number
        raise Refusal(f"notBefore is {milliseconds}: write milliseconds since 1970, from 2000 to 2999.")
    return _moment(milliseconds)


def _whole(name: str, number: float) -> int:
    if not math.isfinite(number):
        raise Refusal(f"{name} is {number}: write a whole number.")
    return int(number)
