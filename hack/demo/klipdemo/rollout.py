"""Waiting for a Deployment, and saying at once why it will not come."""

import json
import time
from typing import Any

from klipcluster import ClusterError
from klipdemo.shell import Shell

TIMEOUT_SECONDS = 300.0
NO_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
"""The kubelet's reasons after which waiting is in vain; ErrImagePull alone may be a hiccup of the network."""

CRASHES = 3


def wait_until_available(shell: Shell, deployment: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait for all replicas. Raises ClusterError as soon as the newest pod cannot start, or after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = json.loads(shell.kubectl("get", "deployment", deployment, "-o", "json"))
        if available(found):
            return
        labels = ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())
        pods = shell.items("pods", "-l", labels)
        problem = hopeless(pods)
        if problem is None and time.monotonic() > deadline:
            problem = f"not available within {timeout_seconds:.0f} s: {waiting_for(pods)}"
        if problem is not None:
            raise ClusterError(f"{deployment}: {problem}")
        time.sleep(0.5)


def available(deployment: dict[str, Any]) -> bool:
    """Every replica is of the newest template and available, and none of an older one is left."""
    status = deployment.get("status", {})
    wanted = deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def hopeless(pods: list[dict[str, Any]]) -> str | None:
    """Why the newest pod cannot start; those of an earlier try do not count."""
    for container in _containers(pods):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in NO_IMAGE:
            return (
                f"the cluster cannot get {container['image']} ({waiting['reason']}): push it to a registry that the"
                " cluster may pull from (`make push IMAGES=…`), or load it into its nodes"
            )
        if waiting.get("reason") == "CrashLoopBackOff" and container["restartCount"] >= CRASHES:
            return f"{container['image']} ends again and again: see `kubectl logs` of the pod"
    return None


def waiting_for(pods: list[dict[str, Any]]) -> str:
    """What the newest pod says of itself."""
    if not pods:
        return "it has no pod; see `kubectl describe replicasets`"
    said = [container["state"]["waiting"] for container in _containers(pods) if "waiting" in container.get("state", {})]
    said += [each for each in _newest(pods)["status"].get("conditions", ()) if each["status"] == "False"]
    words = [": ".join(filter(None, (each.get("reason"), each.get("message")))) for each in said]
    return "; ".join(filter(None, words)) or f"pod {_newest(pods)['metadata']['name']} is not ready"


def _newest(pods: list[dict[str, Any]]) -> dict[str, Any]:
    return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def _containers(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(_newest(pods)["status"].get("containerStatuses", ())) if pods else []
