"""Paths of the API server, and the few names that every command needs.

Not from klipstream_api, whose import costs more than listing a thousand jobs; a test holds them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from klipstream_cli.errors import Exit, Problem

GROUP = "analysis.klipstream.io"
API_VERSION = f"{GROUP}/v1alpha1"
JOB_UID_LABEL = f"{GROUP}/job-uid"
ATTEMPT_LABEL = f"{GROUP}/attempt"
WORKER_CONTAINER = "worker"
PRIORITIES = {"URGENT": 4, "HIGH": 3, "NORMAL": 2, "LOW": 1}
WAITING = ("Queued", "BackingOff")
ACTIVE = ("Starting", "Running")
FINISHED = ("Succeeded", "Failed", "Cancelled", "Rejected")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as the API server and its roles name it."""

    prefix: str
    group: str
    plural: str
    singular: str

    @property
    def qualified(self) -> str:
        """analysisjobs.analysis.klipstream.io, or pods for the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The collection (of all namespaces where None), or one object. Raises Problem for an empty name."""
        if name == "" or namespace == "":
            raise Problem(f"the name of the {self.singular if name == '' else 'namespace'} is empty", Exit.USAGE)
        parts = [self.prefix]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part is not None]
        return "/".join(parts)


ANALYSIS_JOBS = Resource(f"/apis/{API_VERSION}", GROUP, "analysisjobs", "analysisjob")
ANALYSIS_QUEUES = Resource(f"/apis/{API_VERSION}", GROUP, "analysisqueues", "analysisqueue")
PODS = Resource("/api/v1", "", "pods", "pod")
LEASES = Resource("/apis/coordination.k8s.io/v1", "coordination.k8s.io", "leases", "lease")
NAMESPACES = Resource("/api/v1", "", "namespaces", "namespace")


def with_kind(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    """An item of a list as it is alone: lists leave kind and version out."""
    return {"apiVersion": API_VERSION, "kind": kind} | obj
