"""A namespace with an operator in it, as a test sees it: through kubectl."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from klipfake.processes import Operator, Process

DEADLINE_SECONDS = 150.0
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "none"}]}}


class World:
    """One namespace with an operator and a fake kubelet."""

    def __init__(self, kubectl: Callable[..., Any], namespace: str, operator: Operator) -> None:
        self._kubectl, self.namespace, self.operator = kubectl, namespace, operator

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return str(self._kubectl("--namespace", self.namespace, *arguments, **options).stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def queue(self, name: str = "default", **spec: Any) -> None:
        self.apply(_object("AnalysisQueue", name, {"workerTemplate": TEMPLATE} | spec))

    def job(self, name: str, **spec: Any) -> None:
        self.apply(job(name, **spec))

    def room(self, pods: int) -> None:
        """How many pods the namespace's fake node takes at once."""
        self.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fake-node"}, "data": {"room": str(pods)}}
        )

    def ask(self, annotation: str, value: str, queue: str = "default") -> None:
        """Ask a queue for an administrative operation."""
        self.kubectl("annotate", "--overwrite", "aq", queue, f"analysis.klipstream.io/{annotation}={value}")

    def operation(self, name: str, queue: str = "default") -> dict[str, Any]:
        """The last request of an operation, as acknowledged; empty before."""
        operations = self.get("aq", queue)["status"].get("operations", [])
        return next((dict(operation) for operation in operations if operation["name"] == name), {})

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        """A condition of an object; empty where it was never set."""
        conditions = self.get(kind, name)["status"].get("conditions", [])
        return next((dict(condition) for condition in conditions if condition["type"] == type_), {})

    def change(self, kind: str, name: str, **spec: Any) -> None:
        """Patch the spec of an object."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """The object; a queue that was not looked at yet has an empty status."""
        return {"status": {}} | dict(json.loads(self.kubectl("get", kind, name, "-o", "json")))

    def items(self, kind: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl("get", kind, "-o", "json"))["items"])

    def phase(self, name: str) -> str:
        return str(self.get("aj", name)["status"]["phase"])

    def phases(self) -> dict[str, str]:
        return {item["metadata"]["name"]: item["status"]["phase"] for item in self.items("aj")}

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}; {self.phases()}\n{self.operator.said()[-3000:]}"
            time.sleep(0.1)

    def until_phase(self, name: str, *phases: str) -> None:
        self.until(lambda: self.phase(name) in phases, f"{name} in {phases}")


@contextmanager
def playing(kubectl: Callable[..., Any], namespace: str, operator: Operator, kubelet: Process) -> Iterator[World]:
    """A namespace while an operator and a fake kubelet run; both are killed at its end."""
    kubelet.start()
    operator.start()
    try:
        yield World(kubectl, namespace, operator)
    finally:
        operator.kill()
        kubelet.kill()


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "analysis.klipstream.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def job(name: str, **spec: Any) -> dict[str, Any]:
    return _object("AnalysisJob", name, {"videoUrl": f"https://example.com/{name}.mp4"} | spec)
