"""A terminal change is always announced.

Today the watch announces it: whoever sees a final phase sees its Finished condition (for which `kubectl wait` looks)
and its time as well, since all three come in one write. Once the relay delivers webhooks, what its receivers got is
a second history beside that of the API server, and the rules on it (each final phase delivered at least once, under
one webhook-id) belong here.
"""

from klipjudge.cluster import Job, JobVersion
from klipjudge.history import Request
from klipjudge.verdict import Verdict
from klipjudge.vocabulary import FINISHED


def check_announced(job: Job, before: JobVersion | None, verdict: Verdict, request: Request) -> None:
    """A final phase has its condition and its time; a replayed job has neither."""
    now = job.now
    final = now.phase in FINISHED
    timed = now.status.get("finishedAt") is not None
    conditions = now.status.get("conditions") or ()
    told = any(each["type"] == "Finished" and each["status"] == "True" for each in conditions)
    if final or (before is not None and before.phase in FINISHED):
        verdict.checked["announced"] += 1
    if told != final:
        message = f"{job.name} is {now.phase}, but its condition Finished is {'True' if told else 'not'}"
        verdict.broken("announced", request, message)
    if timed != final:
        message = f"{job.name} is {now.phase}, but has {'a' if timed else 'no'} finishedAt"
        verdict.broken("announced", request, message)
