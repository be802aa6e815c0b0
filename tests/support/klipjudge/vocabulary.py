"""The words of the custom resources, written down once more: the judge shares no code with the operator."""

from collections.abc import Mapping
from typing import Any

GROUP = "analysis.klipstream.io"
JOBS = f"analysisjobs.{GROUP}"
QUEUES = f"analysisqueues.{GROUP}"
OPERATOR = "klipstream-operator"
ACTIVE = frozenset({"Starting", "Running"})
FINISHED = frozenset({"Succeeded", "Failed", "Cancelled", "Rejected"})
PRIORITIES = {"URGENT": 4, "HIGH": 3, "NORMAL": 2, "LOW": 1}
BURNING = frozenset({"Transient", "Timeout", "Stalled", "OutOfMemory", "DiskFull"})
"""Failure classes that use up a retry. Permanent ends the job, Infrastructure and Unschedulable cost nothing."""
INFRASTRUCTURE_LOSSES_AT_MOST = 10
DEFAULT_LANE = "default"
DEFAULT_MAX_RETRIES = 3
DEFAULT_LOST_AFTER_SECONDS = 300.0

AttemptKey = tuple[str, int]
"""Uid of the AnalysisJob and number of the attempt."""

_JOB_UID = f"{GROUP}/job-uid"
_ATTEMPT = f"{GROUP}/attempt"
_QUEUE = f"{GROUP}/queue"


def attempt_of(metadata: Mapping[str, Any]) -> AttemptKey | None:
    """Which attempt a Job or a pod belongs to by its labels; None where it is not of ours."""
    labels = metadata.get("labels")
    if not labels:
        return None
    uid = labels.get(_JOB_UID)
    return (uid, int(labels[_ATTEMPT])) if uid else None


def queue_of(metadata: Mapping[str, Any]) -> str:
    """Name of the queue of a Job or a pod by its labels."""
    return str((metadata.get("labels") or {}).get(_QUEUE, ""))
