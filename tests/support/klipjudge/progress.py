"""Progress: what `kubectl get` showed once is not taken back."""

from klipjudge.cluster import Job, JobVersion
from klipjudge.history import Request
from klipjudge.verdict import Verdict
from klipjudge.vocabulary import FINISHED


def check_progress(job: Job, before: JobVersion, verdict: Verdict, request: Request) -> None:
    """Never falling within an attempt, never of an earlier one, frozen once the job is finished."""
    old, new = before.progress, job.now.progress
    if old is None and new is None:
        return
    finished = (
        before.phase in FINISHED and job.now.phase == before.phase and job.now.observed_replay == before.observed_replay
    )
    if old is None and not finished:
        return
    verdict.checked["progress"] += 1
    if old == new:
        return
    if finished:
        verdict.broken("progress", request, f"progress of {job.name} changed though it was {before.phase}")
    elif new is None or old is None:
        verdict.broken("progress", request, f"{job.name} lost its progress")
    elif (new["attempt"], new["percentage"]) < (old["attempt"], old["percentage"]):
        message = (
            f"progress of {job.name} fell from {old['percentage']} % of attempt {old['attempt']}"
            f" to {new['percentage']} % of attempt {new['attempt']}"
        )
        verdict.broken("progress", request, message)
