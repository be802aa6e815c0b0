"""Phases of an AnalysisJob, priorities and stages, and how each reads in the guide's words."""

from enum import StrEnum


class Phase(StrEnum):
    """Where an AnalysisJob stands. Queued is also the CRD's default, so it shows before any write."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    BACKING_OFF = "BackingOff"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"


ACTIVE_PHASES = frozenset({Phase.STARTING, Phase.RUNNING})
FINISHED_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED})


class Priority(StrEnum):
    """The guide's four levels; a higher value starts first."""

    URGENT = "URGENT"
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"

    @property
    def value_number(self) -> int:
        """4 for URGENT down to 1 for LOW, the numbers of the guide."""
        return _PRIORITY_VALUES[self]


_PRIORITY_VALUES = {Priority.URGENT: 4, Priority.HIGH: 3, Priority.NORMAL: 2, Priority.LOW: 1}


class Stage(StrEnum):
    """The guide's stages of an analysis; a worker may name others."""

    QUEUED = "Queued"
    DOWNLOADING = "Downloading"
    TRANSCRIBING = "Transcribing"
    ANALYZING = "Analyzing"
    FINDING_HIGHLIGHTS = "Finding Highlights"
    COMPLETED = "Completed"


STAGE_PERCENTAGES: dict[Stage, tuple[float, float]] = {
    Stage.QUEUED: (0.0, 0.0),
    Stage.DOWNLOADING: (0.0, 20.0),
    Stage.TRANSCRIBING: (20.0, 40.0),
    Stage.ANALYZING: (40.0, 80.0),
    Stage.FINDING_HIGHLIGHTS: (80.0, 95.0),
    Stage.COMPLETED: (100.0, 100.0),
}

_GUIDE_STATUS = {
    Phase.QUEUED: "queued",
    Phase.STARTING: "processing",
    Phase.RUNNING: "processing",
    Phase.BACKING_OFF: "retrying",
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
    Phase.REJECTED: "rejected",
}


def guide_status(phase: Phase) -> str:
    """The word that the guide's REST answers and webhooks use for a phase."""
    return _GUIDE_STATUS[phase]
