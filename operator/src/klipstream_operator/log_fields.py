"""The fields that a log line about an AnalysisJob or an AnalysisQueue carries, so that logs can be filtered by them.

As `extra=` they become keys of a JSON line, and a suffix of a plain one. `namespace` and `queue` are the labels of the
metrics.
"""

import logging
from collections.abc import Mapping
from typing import Any

from klipstream_api import AnalysisJob, AnalysisJobStatus
from klipstream_operator.workload import JobView, PodView

Fields = dict[str, object]
_SHOWN = ("job", "uid", "attempt", "queue")


def job_fields(job: AnalysisJob, status: AnalysisJobStatus | None = None) -> Fields:
    """Fields of a line about a job; `status` where another one than the job's own is spoken of."""
    status = status or job.status
    metadata = job.metadata
    queue_name = status.queue_name or job.spec.queue_name or ""
    return _fields(metadata.namespace, metadata.name, metadata.uid, status.attempt, queue_name)


def attempt_fields(view: JobView | PodView, owner: AnalysisJob | None) -> Fields:
    """Fields of a line about a Kubernetes Job or pod of ours, whose AnalysisJob may be gone."""
    if owner is None:
        return _fields(view.namespace, "", view.job_uid, view.attempt, "")
    return job_fields(owner) | {"attempt": view.attempt}


def wire_fields(obj: Mapping[str, Any]) -> Fields:
    """Fields of a line about an AnalysisJob that cannot be parsed."""
    metadata, spec, status = (obj.get(part) or {} for part in ("metadata", "spec", "status"))
    name, namespace, uid = (metadata.get(key, "") for key in ("name", "namespace", "uid"))
    queue_name = status.get("queueName") or spec.get("queueName") or ""
    return _fields(namespace, name, uid, status.get("attempt", 0), queue_name)


def queue_fields(key: tuple[str, str]) -> Fields:
    """Fields of a line about a queue, by its namespace and name."""
    return {"namespace": key[0], "queue": key[1]}


def wire_queue_fields(obj: Mapping[str, Any]) -> Fields:
    """Fields of a line about an AnalysisQueue that cannot be parsed."""
    metadata = obj.get("metadata") or {}
    return queue_fields((metadata.get("namespace", ""), metadata.get("name", "")))


def _fields(namespace: object, name: object, uid: object, attempt: object, queue_name: object) -> Fields:
    return {
        "job": f"{namespace}/{name}",
        "uid": uid,
        "attempt": attempt,
        "queue": queue_name,
        "namespace": namespace,
    }


class PlainFormatter(logging.Formatter):
    """The message, followed by the fields in brackets."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The first line; a traceback follows it."""
        fields = [f"{name}={record.__dict__[name]}" for name in _SHOWN if name in record.__dict__]
        return f"{record.getMessage()} [{' '.join(fields)}]" if fields else record.getMessage()
