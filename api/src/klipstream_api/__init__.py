"""The contract of the KlipStream analysis queue: custom resources, names, phases and progress.

Pure: pydantic models and constants, no I/O and no clock. Everything that runs imports it; it imports nothing
of ours.
"""

from klipstream_api.analysisjob import (
    AnalysisJob,
    AnalysisJobSpec,
    AnalysisJobStatus,
    Attempt,
    Callback,
    FailureClass,
    Progress,
    SecretKeyRef,
    StageResources,
    Stop,
    StopReason,
)
from klipstream_api.analysisqueue import (
    Admitted,
    AnalysisQueue,
    AnalysisQueueSpec,
    AnalysisQueueStatus,
    CapacityShortage,
    DeadLetterGroup,
    GroupReplay,
    Operation,
    OperationName,
    ProgressFrom,
    QueueHeadEntry,
    QueueMode,
    ReplayState,
    RunTimes,
    Totals,
)
from klipstream_api.meta import Condition, ObjectMeta
from klipstream_api.names import attempt_job_name
from klipstream_api.phases import FINISHED_PHASES, Phase, Priority, Stage, guide_status
from klipstream_api.progress import PostedResources, ProgressPost, ProgressReply

__all__ = [
    "FINISHED_PHASES",
    "Admitted",
    "AnalysisJob",
    "AnalysisJobSpec",
    "AnalysisJobStatus",
    "AnalysisQueue",
    "AnalysisQueueSpec",
    "AnalysisQueueStatus",
    "Attempt",
    "Callback",
    "CapacityShortage",
    "Condition",
    "DeadLetterGroup",
    "FailureClass",
    "GroupReplay",
    "ObjectMeta",
    "Operation",
    "OperationName",
    "Phase",
    "PostedResources",
    "Priority",
    "Progress",
    "ProgressFrom",
    "ProgressPost",
    "ProgressReply",
    "QueueHeadEntry",
    "QueueMode",
    "ReplayState",
    "RunTimes",
    "SecretKeyRef",
    "Stage",
    "StageResources",
    "Stop",
    "StopReason",
    "Totals",
    "attempt_job_name",
    "guide_status",
]
