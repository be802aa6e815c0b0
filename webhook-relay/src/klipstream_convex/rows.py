"""What Convex shows of AnalysisJobs and AnalysisQueues (pure): the rows of convex/rows.ts.

Times are milliseconds since 1970; what is unknown is left out, since Convex tells absent from null.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, guide_status

Row = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def job_row(cluster: str, job: AnalysisJob, obj: Mapping[str, Any]) -> Row:
    """The row of a job; `obj` is the object as the API server holds it, for the manifest."""
    spec, status, metadata = job.spec, job.status, job.metadata
    reason, message = _explanation(job)
    return _known({
        "cluster": cluster,
        "uid": job.uid,
        "namespace": metadata.namespace,
        "name": metadata.name,
        "jobId": job.job_id,
        "queue": status.queue_name or spec.queue_name,
        "phase": status.phase.value,
        "status": guide_status(status.phase),
        "priority": spec.priority.value,
        "negPriority": -float((status.effective_priority or spec.priority).value_number),
        "sequence": _number(status.sequence),
        "attempt": float(status.attempt),
        "retries": float(status.retries),
        "videoId": spec.video_id,
        "type": spec.type,
        "createdAt": _milliseconds(metadata.creation_timestamp) or 0.0,
        "queuedAt": _milliseconds(status.queued_at),
        "notBefore": _milliseconds(spec.not_before),
        "startedAt": _milliseconds(status.started_at),
        "nextAttemptAt": _milliseconds(status.next_attempt_at),
        "finishedAt": _milliseconds(status.finished_at),
        "reason": reason,
        "message": message,
        "resultUrl": status.result_url,
        "deadLettered": any(c.type == "DeadLettered" and c.status == "True" for c in status.conditions),
        "manifest": manifest(obj),
    })  # fmt: skip


def progress_row(job: AnalysisJob) -> Row | None:
    """How far the job is; None before its worker posted anything."""
    progress = job.status.progress
    if progress is None:
        return None
    return _known({
        "attempt": float(progress.attempt),
        "percentage": float(progress.percentage),
        "stage": progress.stage,
        "message": progress.message,
        "estimatedCompletionSeconds": _number(progress.estimated_completion_seconds),
        "updatedAt": _milliseconds(progress.updated_at),
    })  # fmt: skip


def queue_row(cluster: str, queue: AnalysisQueue) -> Row:
    """The row of a queue."""
    spec, status, totals = queue.spec, queue.status, queue.status.totals
    return {
        "cluster": cluster,
        "uid": queue.metadata.uid,
        "namespace": queue.metadata.namespace,
        "name": queue.metadata.name,
        "mode": spec.mode.value,
        "maxConcurrentJobs": float(spec.max_concurrent_jobs),
        "maxQueueSize": float(spec.max_queue_size),
        "queued": float(status.queued),
        "active": float(status.active),
        "backingOff": float(status.backing_off),
        "deadLettered": float(status.dead_lettered),
        "succeeded": float(totals.succeeded),
        "failed": float(totals.failed),
        "cancelled": float(totals.cancelled),
        "retried": float(totals.retried),
        "runSeconds": float(totals.run_seconds),
    }


def manifest(obj: Mapping[str, Any]) -> str:
    """What makes the job anew, as JSON: labels, annotations and spec. Sealed parts stay sealed."""
    metadata = obj["metadata"]
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}
    kept = {"labels": metadata.get("labels") or {}, "annotations": annotations, "spec": obj["spec"]}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()


def digest(*rows: Mapping[str, Any] | None) -> bytes:
    """Equal for rows that show the same; numbers that Convex hands back may have lost their fraction."""
    canonical = orjson.dumps([None if row is None else _floats(row) for row in rows], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=16).digest()


def _floats(row: Mapping[str, Any]) -> Row:
    return {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in row.items()}


def _explanation(job: AnalysisJob) -> tuple[str | None, str | None]:
    """Why a job waits or how it ended: what its conditions say, or its last attempt."""
    status = job.status
    if status.phase is Phase.SUCCEEDED:
        return None, None
    wanted = {
        Phase.REJECTED: ("Finished",),
        Phase.CANCELLED: ("Finished",),
        Phase.FAILED: (),
    }.get(status.phase, ("CapacityAvailable",))
    for condition in status.conditions:
        if condition.type in wanted and (condition.type == "Finished" or condition.status == "False"):
            return condition.reason or None, condition.message or None
    last = status.attempts[-1] if status.attempts else None
    if last is None or status.phase not in (Phase.FAILED, Phase.BACKING_OFF):
        return None, None
    return last.reason, last.message


def _milliseconds(moment: datetime | None) -> float | None:
    return None if moment is None else float(round(moment.timestamp() * 1000))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}
