"""Whether the API server would take the Job of a queue's attempts: asked by a dry run when the queue's spec changes.

GPUs, tolerations, pull secrets, volumes: what a pod template may hold is Kubernetes' own to say. A queue whose
template it refuses starts nothing and says why, instead of making a dead letter of each job.
"""

from typing import Final

from klipstream_api import AnalysisJob, AnalysisQueue
from klipstream_api.worker_template import problems
from klipstream_kube import JOBS, AlreadyExists, ApiError, Client
from klipstream_operator.jobs import WorkerContract, make_job

NOT_A_JOB: Final = (400, 422)
"""What the API server answers to a template of the wrong form, and to one with wrong contents."""
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


async def refusal(queue: AnalysisQueue, client: Client, contract: WorkerContract) -> str | None:
    """Why the API server refuses a Job made of the queue's template; None where it takes it.

    Raises ApiError and Unreachable where it does not say, such as for a missing right.
    """
    if found := problems(queue.spec.worker_template.spec):
        return "; ".join(found)
    sample = AnalysisJob.from_wire({
        "metadata": {"name": "template-check", "namespace": queue.metadata.namespace, "uid": _NOBODY},
        "spec": {"videoUrl": "https://example.com/video.mp4", "params": {}},
    })  # fmt: skip
    manifest = make_job(sample, queue, 1, contract, suspended=True)
    manifest["metadata"]["name"] = f"template-check-{queue.metadata.name}"[:63].rstrip("-")
    try:
        await client.create(JOBS, manifest, queue.metadata.namespace, dry_run=True)
    except AlreadyExists:
        return None
    except ApiError as error:
        if error.status not in NOT_A_JOB:
            raise
        return f"the API server refuses workerTemplate: {error.message}"
    return None
