"""What a queue's worker template must hold, beyond what the CRD's schema can say of an opaque pod spec (pure)."""

from typing import Any


def problems(spec: dict[str, Any]) -> list[str]:
    """What surely keeps a PodSpec from being used; empty where it can be."""
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        return ["workerTemplate.spec.containers must name at least one container, the worker"]
    found = []
    if not isinstance(containers[0], dict) or not containers[0].get("image"):
        found.append("workerTemplate.spec.containers[0] must have an image")
    if spec.get("restartPolicy") not in (None, "Never"):
        found.append("workerTemplate.spec.restartPolicy must be absent: attempts are retried by the queue")
    return found
