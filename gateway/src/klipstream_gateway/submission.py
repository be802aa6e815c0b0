"""From a submission to an AnalysisJob: its name, its id, what is sealed, and whether its queue takes it (pure)."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from klipstream_api import AnalysisJob, AnalysisQueue, ObjectMeta, Phase, QueueMode, names
from klipstream_api.analysisjob import AnalysisJobSpec
from klipstream_api.meta import condition, rfc3339
from klipstream_gateway.problems import FieldError, Problem, Refused
from klipstream_gateway.requests import Submission
from klipstream_gateway.routes import ANONYMOUS, Principal
from klipstream_gateway.signed import without_signature
from klipstream_gateway.views import (
    JOB_ID_LABEL,
    PAYLOAD_ANNOTATION,
    REFERENCE_ANNOTATION,
    SUBMITTER_ANNOTATION,
    TENANT_LABEL,
)
from klipstream_netguard import Rules, url_problem
from klipstream_queueing.routing import route
from klipstream_sealing import BadFields, PublicKey, SealedCallback, SealedFields, sealed_fields

FULL_RETRY_SECONDS = 30
_REJECTED = {"QueueFull": Problem.QUEUE_FULL, "QueueDraining": Problem.QUEUE_DRAINING}
"""Why the operator rejects a job (klipstream_operator.acceptance), as problems."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """What sensitive fields are sealed with; without a key they are refused."""

    key: PublicKey | None
    namespace: str

    def sealed(self, submission: Submission, job_id: str) -> str | None:
        """The value of spec.sealed; None where nothing is sensitive. Raises Refused."""
        secret, token = submission.callback_secret, submission.callback_token
        signed = without_signature(submission.video_url) is not None
        if not submission.metadata and secret is None and token is None and not signed:
            return None
        if self.key is None:
            sensitive = [
                name for name in ("metadata", "callback_secret", "callback_token") if getattr(submission, name)
            ] + ["the signature in video_url"] * signed
            raise Refused(Problem.SEALING_UNAVAILABLE, f"{', '.join(sensitive)} would be stored as plain text.")
        callback = None
        if secret is not None or token is not None:
            host = urlsplit(submission.callback_url or "").hostname
            assert host is not None, "judged before"
            callback = SealedCallback((host,), secret, token)
        url = submission.video_url if signed else None
        fields = SealedFields(params=submission.metadata or {}, callback=callback, video_url=url)
        try:
            return sealed_fields(fields, self.key, self.namespace, job_id)
        except BadFields as error:
            field = FieldError(field="body.metadata", message=str(error))
            raise Refused(Problem.INVALID, f"{field.field}: {field.message}", errors=(field,)) from None


def check(submission: Submission, rules: Rules) -> None:
    """What goes beyond single fields. Raises Refused."""
    errors = []
    try:
        without_signature(submission.video_url)
    except ValueError:
        # Who knows what is secret in it?
        errors.append(FieldError(field="body.video_url", message="it is not a URL: its host or port cannot be read"))
    if submission.callback_url is not None:
        if (why := url_problem(submission.callback_url, rules)) is not None:
            errors.append(FieldError(field="body.callback_url", message=why))
    else:
        errors += [
            FieldError(field=f"body.{name}", message="there is no callback_url that it could be used for")
            for name in ("callback_secret", "callback_token")
            if getattr(submission, name) is not None
        ]
    if errors:
        raise Refused(Problem.INVALID, errors[0].message, errors=tuple(errors))


def object_name(principal: Principal, address: str, idempotency_key: str | None, job_id: str) -> str:
    """The name of the AnalysisJob. With an Idempotency-Key it follows from the key and whose it is: the API server
    itself, and no memory of ours, refuses a second one."""
    if idempotency_key is None:
        return f"job-{job_id}"
    owner = f"tenant:{principal.tenant}" if principal.tenant is not None else principal.name
    if principal is ANONYMOUS:
        owner = f"address:{address}"
    digest = hashlib.sha256(json.dumps([owner, idempotency_key]).encode()).hexdigest()
    return f"job-{digest[:40]}"


def payload_hash(submission: Submission) -> str:
    """Tells two submissions apart, for Idempotency-Keys.

    It is stored in plain and covers what is sealed, so it is cut to 32 bits: enough to notice a mistake, too little to
    confirm a guess of what was sealed.
    """
    text = json.dumps(submission.model_dump(mode="json", exclude_none=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def new_job_id() -> str:
    """122 random bits: whoever knows it may see the status."""
    return str(uuid.uuid4())


def manifest(submission: Submission, principal: Principal, name: str, job_id: str, sealer: Sealer) -> dict[str, Any]:
    """The AnalysisJob of a submission. Raises Refused where something cannot be sealed."""
    labels = {JOB_ID_LABEL: job_id} | ({TENANT_LABEL: principal.tenant} if principal.tenant is not None else {})
    annotations = {SUBMITTER_ANNOTATION: principal.name, PAYLOAD_ANNOTATION: payload_hash(submission)}
    if submission.reference is not None:
        annotations[REFERENCE_ANNOTATION] = submission.reference
    optional: dict[str, Any] = {
        "videoId": submission.video_id,
        "queueName": submission.queue,
        "type": submission.type,
        "callback": {"url": submission.callback_url} if submission.callback_url is not None else None,
        "params": submission.params or None,
        "timeoutSeconds": submission.timeout_seconds,
        "maxRetries": submission.max_retries,
        "notBefore": rfc3339(submission.not_before) if submission.not_before is not None else None,
        "sealed": sealer.sealed(submission, job_id),
    }
    shown = without_signature(submission.video_url) or submission.video_url
    spec = {"videoUrl": shown, "jobId": job_id, "priority": submission.priority.value}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "AnalysisJob",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": spec | {key: value for key, value in optional.items() if value is not None},
    }


def admit(submission: Submission, queues: dict[str, AnalysisQueue], waiting: dict[str, int]) -> str:
    """The queue that takes it; refuses at once what the operator would refuse. `waiting` counts by queue. Raises
    Refused.

    The operator decides for good: two gateways may both see the last place free.
    """
    if submission.queue is not None and submission.queue not in queues:
        raise Refused(Problem.QUEUE_NOT_FOUND, f"There is no queue {submission.queue}.")
    spec = AnalysisJobSpec(
        video_url=submission.video_url,
        queue_name=submission.queue,
        type=submission.type,
        priority=submission.priority,
    )
    name = route(AnalysisJob(metadata=ObjectMeta(name="submission"), spec=spec), queues.values())
    if name is None:
        raise Refused(Problem.QUEUE_NOT_FOUND, "No queue takes such jobs: name one with `queue`.")
    queue = queues[name]
    if queue.spec.mode is QueueMode.DRAINING:
        raise Refused(Problem.QUEUE_DRAINING, f"The queue {name} is draining and takes no new jobs.")
    if waiting.get(name, 0) >= queue.spec.max_queue_size:
        raise Refused(
            Problem.QUEUE_FULL,
            f"The queue {name} is full: {waiting[name]} jobs wait, and {queue.spec.max_queue_size} may.",
            {"Retry-After": str(FULL_RETRY_SECONDS)},
        )
    return name


def taken(job: AnalysisJob) -> AnalysisJob:
    """The job of a submission that is stored. Raises Refused where the operator did not take it after all: two gateways
    may have seen the last place free. It stays as it is, so only another job can be taken later."""
    if job.status.phase is not Phase.REJECTED:
        return job
    finished = condition(job.status.conditions, "Finished")
    reason, why = (finished.reason, finished.message) if finished is not None else ("", "")
    kind = _REJECTED.get(reason, Problem.INVALID)
    headers = {"Retry-After": str(FULL_RETRY_SECONDS)} if reason in _REJECTED else {}
    raise Refused(kind, f"{why or 'The queue did not take the job.'} Use a new Idempotency-Key then.", headers)
