"""Why a job has not started, and the command that may help (pure)."""

from __future__ import annotations

from datetime import datetime

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_cli.times import span
from klipstream_queueing.waiting import Reason
from klipstream_queueing.waiting import reasons as reasons_of

_COMMANDS = {
    "no-queue": "kubectl analysis queue list",
    "queue-paused": "kubectl analysis queue resume {queue}",
    "backing-off": "kubectl analysis logs {job}",
    "queue-not-ready": "kubectl analysis queue status {queue}",
    "no-slots": "kubectl analysis queue config {queue} --max-concurrent-jobs 3",
    "no-operator": "kubectl analysis doctor",
}


def reasons(job: AnalysisJob, queue: AnalysisQueue | None, position: int | None, now: datetime) -> tuple[Reason, ...]:
    """Every reason, the one that weighs most first; empty for a job that does not wait."""

    def when(moment: datetime) -> str:
        return f"in {span((moment - now).total_seconds())} ({moment.astimezone():%Y-%m-%d %H:%M:%S %Z})"

    return reasons_of(job, queue, position, now, when)


def command_for(reason: Reason, job: AnalysisJob, queue: AnalysisQueue | None) -> str:
    """What may help; empty where nothing but time does."""
    return _COMMANDS.get(reason.code, "").format(
        job=job.metadata.name, queue=queue.metadata.name if queue is not None else ""
    )
