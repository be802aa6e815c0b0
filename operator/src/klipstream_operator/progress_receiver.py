"""What a worker's post of progress is answered: who it is, what it says, what becomes of it. Knows no web server."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from klipstream_api import ProgressPost, ProgressReply
from klipstream_kube import ApiError, Unreachable
from klipstream_operator.identity import Identities, NotAuthenticated
from klipstream_operator.progress import WRITE_EVERY_SECONDS, ProgressBook, Verdict
from klipstream_operator.progress_forwarder import NotForwarded, ProgressForwarder
from klipstream_operator.sealed_params import Opened, open_params
from klipstream_operator.store import Store
from klipstream_operator.workload import PodView
from klipstream_sealing import RingFile

log = logging.getLogger(__name__)
RETRY_AFTER = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of HTTP: its status, its JSON body and what goes into the headers beside that."""

    status: int
    body: dict[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        """An RFC 9457 problem where it is no success."""
        return "application/json" if self.status < 300 else "application/problem+json"


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An RFC 9457 problem."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    return Reply(status, body, headers or {})


NOT_TAKEN = problem(
    503, "Not taken yet", "The attempt is not known, or its progress not written yet. Post again soon.", RETRY_AFTER
)


@dataclass(slots=True)
class ProgressReceiver:
    """Takes workers' posts into the progress book."""

    store: Store
    book: ProgressBook
    identities: Identities
    ring: RingFile | None = None
    """Opens sealed parameters."""
    forwarder: ProgressForwarder = field(default_factory=ProgressForwarder)
    """To the other shards, if there are any."""

    async def receive(self, token: str, body: bytes, forwarded: bool = False) -> Reply:
        """401 without a worker's token, 400 for a bad body, 409 for a stale attempt, 503 while not known yet.

        What belongs to another shard is answered by that one; `forwarded` tells that another shard sent it here.
        """
        if not token:
            return problem(401, "Unauthorized", "Send the token of ANALYSIS_TOKEN_FILE as a bearer token.")
        try:
            identity = await self.identities.of(token)
            elsewhere = self.forwarder.known(identity.pod_uid)
            if elsewhere is None:
                pod = self.store.pod(identity.pod_uid) or await self.identities.pod(identity)
                elsewhere = self.forwarder.shard_of(pod)
        except NotAuthenticated as error:
            return problem(401, "Unauthorized", f"{error}. Read ANALYSIS_TOKEN_FILE again: it rotates.")
        except (ApiError, Unreachable) as error:
            log.warning("Progress of a worker could not be authenticated: %s", error)
            return problem(503, "Unavailable", "The API server does not answer.", RETRY_AFTER)
        if elsewhere is not None:
            return NOT_TAKEN if forwarded else await self._sent_on(elsewhere, token, body)
        try:
            post = ProgressPost.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            return problem(400, "Bad progress", f"{where}: {first['msg']}")
        if pod is None:
            return problem(409, "Stale attempt", "This pod is not one of the queue's workers. Stop.")
        wants_sealed = post.sealed or self._first_of(pod)
        try:
            verdict, job = await self.book.take(pod, post)
        except (ApiError, Unreachable) as error:
            return problem(503, "Unavailable", str(error), RETRY_AFTER)
        if verdict is Verdict.UNKNOWN:
            return NOT_TAKEN
        if verdict is Verdict.STALE or job is None:
            return problem(409, "Stale attempt", "Another attempt took over, or the job is finished. Stop.")
        opened = open_params(job, self.ring) if wants_sealed else Opened()
        reply = ProgressReply(
            desired="Cancel" if job.spec.cancel else "Continue",
            min_interval_seconds=WRITE_EVERY_SECONDS,
            deadline=self.book.deadline(job, pod),
            sealed_params=opened.params,
            sealed_video_url=opened.video_url,
            sealed_problem=opened.problem,
            sealed_retryable=opened.retryable if opened.problem is not None else None,
        )
        return Reply(200, reply.model_dump(mode="json", exclude_none=True))

    async def _sent_on(self, shard: int, token: str, body: bytes) -> Reply:
        try:
            status, answer, headers = await self.forwarder.forward(shard, token, body)
            return Reply(status, json.loads(answer), headers)
        except (NotForwarded, ValueError):
            return problem(503, "Unavailable", f"Shard {shard} of the operator does not answer.", RETRY_AFTER)

    def _first_of(self, pod: PodView) -> bool:
        """Whether nothing of the pod's attempt was taken before, as far as this replica knows."""
        job, pending = self.store.jobs.get(pod.job_uid), self.store.progress.get(pod.job_uid)
        written = job.status.progress if job is not None else None
        return all(each is None or each.attempt != pod.attempt for each in (pending, written))
