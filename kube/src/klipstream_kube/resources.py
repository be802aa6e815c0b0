"""Which resource a request is about, and its path on the API server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as the API server names it; `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What manifests carry as apiVersion: "batch/v1", or "v1" for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified_name(self) -> str:
        """What kubectl and RBAC messages call it: "jobs.batch", or "pods" for the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @lru_cache(maxsize=4096)  # noqa: B019 - resources are few, frozen, and live as long as the process
    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection (without `name`) or of one object.

        A namespaced resource without a namespace is the collection over all namespaces; one of its
        objects needs the namespace. ValueError where the parts cannot name anything, so that an empty
        name never turns a request on one object into a request on all of them.
        """
        if not self.namespaced and namespace is not None:
            raise ValueError(f"{self.qualified_name} has no namespace, {namespace!r} was given")
        if self.namespaced and namespace is None and name is not None:
            raise ValueError(f"{self.qualified_name} {name!r} needs a namespace")
        if "" in (namespace, name, subresource) or (subresource is not None and name is None):
            raise ValueError(f"incomplete path: {self.qualified_name} {namespace=} {name=} {subresource=}")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("", "v1", "events", "Event")
JOBS = Resource("batch", "v1", "jobs", "Job")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SECRETS = Resource("", "v1", "secrets", "Secret")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
