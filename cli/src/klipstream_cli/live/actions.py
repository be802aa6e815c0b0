"""What the keys change, on what the API server holds at that moment."""

from __future__ import annotations

from klipstream_api import AnalysisJob, AnalysisQueue, Phase, Priority, QueueMode
from klipstream_cli.api import MERGE, Api
from klipstream_cli.changing import NothingToDo
from klipstream_cli.errors import Conflict, Problem
from klipstream_cli.replaying import replayed
from klipstream_cli.resources import ANALYSIS_JOBS, ANALYSIS_QUEUES

ACTION_SECONDS = 5.0
TRIES = 20
"""Of a change that the operator's own writes may come before."""


def cancel(api: Api, job: AnalysisJob) -> str:
    """Cancel a job; what was done, in words."""
    return _job(api, job, {"cancel": True}, "is being cancelled")


def move(api: Api, job: AnalysisJob, levels: int) -> str:
    """Raise (1) or lower (-1) a job's priority."""
    value = job.spec.priority.value_number + levels
    wanted = next((priority for priority in Priority if priority.value_number == value), None)
    if wanted is None:
        return f"{job.metadata.name} is {job.spec.priority} already"
    return _job(api, job, {"priority": wanted.value}, f"is {wanted}")


def retry(api: Api, job: AnalysisJob) -> str:
    """Run a failed job again."""
    if job.status.phase is not Phase.FAILED:
        return f"{job.metadata.name} is {job.status.phase}; only failed jobs run again"
    try:
        spec = replayed(api.get(ANALYSIS_JOBS, job.metadata.namespace, job.metadata.name))
    except NothingToDo as nothing:
        return f"{job.metadata.name}: {nothing}"
    except Problem as problem:
        return f"{job.metadata.name}: {problem.message}"
    return _job(api, job, spec, "runs again")


def next_mode(queue: AnalysisQueue) -> QueueMode:
    """What pausing makes of a queue: one that runs is paused; one that is paused or drains runs again."""
    return QueueMode.PAUSED if queue.spec.mode is QueueMode.RUNNING else QueueMode.RUNNING


def pause(api: Api, queue: AnalysisQueue, mode: QueueMode) -> str:
    """Set the mode of a queue, if it has the one that was seen when the key was pressed."""
    name, namespace = queue.metadata.name, queue.metadata.namespace
    for left in reversed(range(TRIES)):
        try:
            now = api.get(ANALYSIS_QUEUES, namespace, name)
            if (found := str(now["spec"].get("mode") or QueueMode.RUNNING.value)) != queue.spec.mode.value:
                return f"{name} is {found} by now; nothing was changed"
            # The version: a drain that somebody begins at this moment is not ended.
            body = {"metadata": {"resourceVersion": now["metadata"]["resourceVersion"]}, "spec": {"mode": mode.value}}
            api.patch(ANALYSIS_QUEUES, namespace, name, body)
        except Conflict as conflict:  # mostly with the operator, which writes the status of a busy queue all the time
            if not left:
                return f"{name}: {conflict.message}"
        except Problem as problem:
            return f"{name}: {problem.message}"
        else:
            return f"{name} is {mode}"
    raise AssertionError("the last round returns")


def _job(api: Api, job: AnalysisJob, spec: dict[str, object], done: str) -> str:
    name = job.metadata.name
    try:
        # The uid: a job of the same name that came since is another one.
        api.request("PATCH", ANALYSIS_JOBS.path(job.metadata.namespace, name),
                    body={"metadata": {"uid": job.uid}, "spec": spec}, content_type=MERGE,
                    about=(ANALYSIS_JOBS, job.metadata.namespace, name))  # fmt: skip
    except Problem as problem:
        return f"{name}: {problem.message}"
    return f"{name} {done}"
