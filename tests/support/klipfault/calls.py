"""What a request to the API server asks for, read from its URL and body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_STORED_NOWHERE = frozenset({
    "tokenreviews.authentication.k8s.io",
    "subjectaccessreviews.authorization.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the words of the API: verb, resource ("pods", "jobs.batch"), subresource, namespace, name.

    A request for no resource (/version, /apis) has an empty resource. The name of a create is that of its body.
    """

    verb: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    dry_run: bool = False

    @property
    def writes(self) -> bool:
        """Whether it would change what is stored."""
        return self.verb in WRITES and not self.dry_run and self.resource not in _STORED_NOWHERE

    @property
    def kind_of(self) -> str:
        """Verb, resource and subresource, such as "patch analysisqueues.analysis.klipstream.io/status"."""
        return f"{self.verb} {self.resource}" + (f"/{self.subresource}" if self.subresource else "")


def call_of(method: str, path: str, query: Mapping[str, str], body: bytes) -> Call:
    """Read a request. `path` is without the query."""
    segments = [segment for segment in path.split("/") if segment]
    match segments:
        case ["api", _, *rest]:
            group = ""
        case ["apis", group, _, *rest]:
            pass
        case _:
            rest, group = [], ""
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        _, namespace, *rest = rest
    plural, name, subresource = (*rest, "", "", "")[:3]
    verb = _verb(method, name, query)
    if verb == "create" and not name:
        name = _name_in(body)
    return Call(
        verb=verb,
        resource=plural + (f".{group}" if plural and group else ""),
        subresource=subresource,
        namespace=namespace,
        name=name,
        dry_run="dryRun" in query,
    )


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method == "GET":
        if query.get("watch") in ("1", "true"):
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())


def _name_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["metadata"]["name"])
    except (ValueError, KeyError, TypeError):
        return ""
