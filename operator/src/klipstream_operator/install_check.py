"""What `helm test` runs: a small job in a queue of its own, from its submission to its end.

`python -m klipstream_operator.install_check --namespace NS --name NAME --image IMAGE`. Whatever it made it removes.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any

from klipstream_api import names
from klipstream_api.phases import FINISHED_PHASES
from klipstream_kube import ApiError, Client, ConfigurationError, NotFound, Unreachable, load_connection
from klipstream_operator.status_writer import ANALYSIS_JOBS, ANALYSIS_QUEUES

LOOK_EVERY_SECONDS = 0.5
CHECKPOINT = "posted by the test"
# Posts through TLS with the pod's own token; that the checkpoint stands in the status shows that it arrived.
WORKER = f"""\
import time
from klipstream_worker import AnalysisTask
with AnalysisTask.from_environment() as task:
    with task.stage("Analyzing") as stage:
        for _ in stage.iterate(range(3)):
            time.sleep(0.2)
        task.save_checkpoint({CHECKPOINT!r})
    task.succeed("tested")
"""
_RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


class CheckFailed(Exception):
    """The installation does not do what it is for; the message says where to look."""


def queue_manifest(name: str, image: str, pull_policy: str, pod: dict[str, Any]) -> dict[str, Any]:
    """A queue of one slot whose worker takes a second and needs next to nothing; `pod`: where it runs, and as whom."""
    container = {
        "name": "worker", "image": image, "imagePullPolicy": pull_policy, "command": ["python3", "-c", WORKER],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": _RESTRICTED,
    }  # fmt: skip
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    template = {"securityContext": restricted} | pod | {"containers": [container]}
    # It accepts a type that nobody submits, so that no job without a queue comes here.
    spec = {
        "maxConcurrentJobs": 1, "maxRetries": 0, "accepts": {"types": [name]}, "workerTemplate": {"spec": template},
    }  # fmt: skip
    return {"apiVersion": names.API_VERSION, "kind": "AnalysisQueue", "metadata": {"name": name}, "spec": spec}


def job_manifest(name: str) -> dict[str, Any]:
    """The job; its video is never fetched."""
    spec = {"videoUrl": "https://example.com/not-fetched.mp4", "queueName": name}
    return {"apiVersion": names.API_VERSION, "kind": "AnalysisJob", "metadata": {"name": name}, "spec": spec}


def verdict(job: dict[str, Any]) -> str | None:
    """What a job tells of the installation once it is finished; None until then. Raises CheckFailed."""
    status = job.get("status", {})
    if status.get("phase") not in {phase.value for phase in FINISHED_PHASES}:
        return None
    if status["phase"] != "Succeeded":
        finished = [each for each in status.get("conditions", ()) if each["type"] == "Finished"]
        said = "; ".join(f"{each['reason']}: {each['message']}" for each in finished)
        raise CheckFailed(f"the job ended as {status['phase']} ({said or 'it does not say why'})")
    if json.loads(status.get("progress", {}).get("checkpoint") or "null") != CHECKPOINT:
        raise CheckFailed(
            "the job succeeded, but its progress did not arrive: can its pod reach the operator's Service on port 8080?"
        )
    return f"a job went from submission to success in {status.get('attempt')} attempt, with its progress"


async def check(client: Client, namespace: str, queue: dict[str, Any], timeout_seconds: float) -> str:
    """Make queue and job, wait for the end, remove both. Raises CheckFailed."""
    name = queue["metadata"]["name"]
    await _remove(client, namespace, name)
    try:
        await client.create(ANALYSIS_QUEUES, queue, namespace)
        await client.create(ANALYSIS_JOBS, job_manifest(name), namespace)
        deadline = time.monotonic() + timeout_seconds
        while True:
            job = await client.get(ANALYSIS_JOBS, name, namespace)
            if (said := verdict(job)) is not None:
                return said
            if time.monotonic() > deadline:
                phase = job.get("status", {}).get("phase")
                raise CheckFailed(
                    f"the job is {phase} after {timeout_seconds:.0f} s: see `kubectl describe aj {name} -n {namespace}`"
                    " while the test runs, and the logs of the operator"
                )
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    finally:
        await _remove(client, namespace, name)


async def _remove(client: Client, namespace: str, name: str) -> None:
    """What an earlier test may have left, or this one made; gone when this returns."""
    for resource in (ANALYSIS_JOBS, ANALYSIS_QUEUES):
        with suppress(NotFound):
            await client.delete(resource, name, namespace)
            while True:
                await client.get(resource, name, namespace)
                await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _run(asked: argparse.Namespace) -> str:
    queue = queue_manifest(asked.name, asked.image, asked.pull_policy, asked.pod)
    async with Client(load_connection(), user_agent="klipstream-test") as client:
        return await check(client, asked.namespace, queue, asked.timeout_seconds)


def main() -> int:
    """Parse and check; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m klipstream_operator.install_check", description=__doc__)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--name", required=True, help="of the queue and the job that are made and removed")
    parser.add_argument("--image", required=True, help="an image with the worker SDK")
    parser.add_argument("--pull-policy", default="IfNotPresent")
    parser.add_argument("--pod", type=json.loads, default={}, help="fields of the worker's pod, as JSON")
    parser.add_argument("--timeout-seconds", type=float, default=180.0)
    try:
        print(f"installed: {asyncio.run(_run(parser.parse_args()))}")
    except (CheckFailed, ApiError, Unreachable, ConfigurationError) as error:
        print(f"not as it should be: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
