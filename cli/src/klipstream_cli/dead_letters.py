"""Dead letters as the API server holds them: failed jobs that are kept, and the groups that failed alike."""

from __future__ import annotations

from typing import Any

from klipstream_cli.jobs_view import condition, queue_of
from klipstream_cli.resources import ANALYSIS_JOBS
from klipstream_cli.session import Session

Job = dict[str, Any]


def is_dead(job: Job) -> bool:
    """Whether the job failed for good and is kept for somebody to look into."""
    return condition(job, "DeadLettered").get("status") == "True"


def dead_letters(session: Session, namespace: str | None, *, queue: str | None = None, fingerprint: str | None = None,
                 selector: str | None = None) -> list[Job]:  # fmt: skip
    """Those of a namespace, the latest first."""
    found, _ = session.api.list(ANALYSIS_JOBS, namespace, label_selector=selector, field_selector="status.phase=Failed")
    kept = [
        job
        for job in found
        if is_dead(job)
        and queue in (None, queue_of(job))
        and fingerprint in (None, job.get("status", {}).get("failureFingerprint"))
    ]
    return sorted(kept, key=lambda job: str(job.get("status", {}).get("finishedAt") or ""), reverse=True)


def last_attempt(job: Job) -> dict[str, Any]:
    """How it ended; empty where it never ran."""
    attempts = job.get("status", {}).get("attempts") or []
    return dict(attempts[-1]) if attempts else {}
