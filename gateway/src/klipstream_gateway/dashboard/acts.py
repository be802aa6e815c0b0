"""What forms ask for: which operation of the API that is, and what is said of its outcome."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from klipstream_api import Priority
from klipstream_gateway.answers import Acts, JobState, JobStatusView, QueueConfigView, Submitted
from klipstream_gateway.dashboard import words
from klipstream_gateway.dashboard.pages import HOME
from klipstream_gateway.jobs import IDEMPOTENCY_KEY

SUBMISSION = ("video_url", "video_id", "priority", "queue", "type", "reference")
LIMITS = ("max_concurrent_jobs", "max_queue_size", "timeout_seconds", "max_retries")
QUEUE_ACTS = {
    "pause": "pauseQueue",
    "resume": "resumeQueue",
    "drain": "drainQueue",
    "clear": "clearQueue",
    "clear-stuck": "clearStuck",
    "reconcile": "reconcileQueue",
    "restart": "restartOperator",
}
ONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""The field `once` of a form: sent twice, by a second click or after a lost answer, it makes one job."""
JOB_ACTS = {"cancel": "cancelJob", "retry": "retryJob", "priority": "setJobPriority"}


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation with what it is given, and the page that asked."""

    operation: str
    back: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def asked(path: str, form: Mapping[str, str]) -> Asked | None:
    """What a form that was sent to a path asks for; None where there is no such act. Empty fields are left out."""
    given = {name: value.strip() for name, value in form.items() if value.strip()}
    queue = {"queue": given["queue"]} if "queue" in given else {}
    if (match := re.fullmatch(rf"{HOME}/jobs/([^/]+)/([a-z-]+)", path)) and match[2] in JOB_ACTS:
        body = {"priority": given.get("priority", "")} if match[2] == "priority" else None
        return Asked(JOB_ACTS[match[2]], f"{HOME}/jobs/{match[1]}", {"job_id": match[1]}, body=body)
    if match := re.fullmatch(rf"{HOME}/dead-letters/([^/]+)/replay", path):
        return Asked("replayDeadLetterGroup", f"{HOME}/dead-letters", {"fingerprint": match[1]}, queue)
    administration = f"{HOME}/administration"
    if path == f"{administration}/config":
        limits: dict[str, Any] = {name: given[name] for name in LIMITS if name in given}
        if "retry_delays_seconds" in given:
            limits["retry_delays_seconds"] = re.split(r"[\s,;]+", given["retry_delays_seconds"].strip(" ,;"))
        return Asked("setQueueConfig", administration, query=queue, body=limits)
    if (match := re.fullmatch(rf"{administration}/([a-z-]+)", path)) and match[1] in QUEUE_ACTS:
        return Asked(QUEUE_ACTS[match[1]], administration, query=queue)
    if path == f"{HOME}/submit":
        headers = {IDEMPOTENCY_KEY: given["once"]} if ONCE.fullmatch(given.get("once", "")) else {}
        body = {name: given[name] for name in SUBMISSION if name in given}
        return Asked("submitAnalysis", path, body=body, headers=headers)
    return None


def outcome(operation: str, answer: Any) -> tuple[str, str | None]:
    """What is said of an answer, and the page that is gone to, where it is another one."""
    match answer:
        case Submitted():
            where = f"{words.ordinal(answer.position)} in line" if answer.position is not None else "taken"
            return f"Submitted: {where}.", f"{HOME}/jobs/{answer.job_id}"
        case JobStatusView():
            return _of_job(operation, answer), None
        case QueueConfigView():
            return f"The limits of {answer.queue} are changed.", None
        case Acts():
            return " ".join(f"{each.queue}: {each.message}" for each in answer.queues) or "There is no queue.", None
    raise AssertionError(f"{operation} answers {type(answer).__name__}")


def _of_job(operation: str, job: JobStatusView) -> str:
    if operation == "cancelJob":
        done = job.status is JobState.CANCELLED
        return "The job is cancelled." if done else "The job is being cancelled; a running one takes some seconds."
    if operation == "retryJob":
        return "The job runs again, with all its retries."
    where = f", {words.ordinal(job.position)} in line" if job.position is not None else ""
    return f"The priority is {Priority(job.priority).value}{where}."
