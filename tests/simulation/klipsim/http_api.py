"""The simulated API server as HTTP: paths, parameters, Status objects, and watches as streams of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from klipsim.apiserver import ANALYSIS_JOBS, KINDS, ApiServer, Change, Kind, Refused, at_version
from klipsim.objects import Object, selected

MERGE_PATCH = "application/merge-patch+json"
_OURS = ANALYSIS_JOBS.api_version
WORKER_TOKEN = "worker:"
"""Tokens of workers: this, then namespace, pod name and pod uid, separated by slashes."""


class Call(NamedTuple):
    """One request on its way."""

    method: str
    path: str
    params: Mapping[str, str]
    content_type: str
    body: Object
    """Empty where none was sent."""
    agent: str


class Answer(NamedTuple):
    """What comes back: an object as it is stored, or the bytes of something else."""

    status: int
    body: Object | bytes
    headers: Mapping[str, str]
    told: tuple[tuple[str, int], ...] = ()
    """Uid and resourceVersion of the AnalysisJobs and AnalysisQueues in it."""


class Event(NamedTuple):
    """One line of a watch."""

    type: str
    obj: Object


class Target(NamedTuple):
    """What a path names."""

    kind: Kind
    namespace: str | None
    name: str | None
    subresource: str


_KINDS_BY_PATH = {(kind.api_version, kind.plural): kind for kind in KINDS.values()}


@lru_cache(maxsize=4096)
def target_of(path: str) -> Target | None:
    """The object or collection that a path names; None for other paths."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    namespace = None
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    kind = _KINDS_BY_PATH.get((version, rest[0])) if rest else None
    if kind is None:
        return None
    return Target(kind, namespace, rest[1] if len(rest) > 1 else None, rest[2] if len(rest) > 2 else "")


def status_object(code: int, reason: str, message: str, details: Object | None = None) -> Object:
    """A Status of the API."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details or {}, "code": code,
    }  # fmt: skip


def refusal(
    code: int, reason: str, message: str, details: Object | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer that is a Status."""
    return Answer(code, orjson.dumps(status_object(code, reason, message, details)), headers or {})


@dataclass(slots=True)
class Watch:
    """An open watch; `tell` is called with each event, in order, and with None when the server ends it."""

    server: ApiServer
    kind: Kind
    namespace: str | None
    labels: str | None
    fields: str | None
    tell: Callable[[Event | None, tuple[str, int] | None], None]
    """… and with the uid and resourceVersion of the AnalysisJob or AnalysisQueue that it is about."""

    def begin(self, version: int) -> None:
        """Tell what happened since a resourceVersion, then all that comes. In-band 410 where that is too old."""
        try:
            missed = self.server.since(self.kind, version)
        except Refused as refused:
            status = status_object(refused.code, refused.reason, refused.message)
            self.tell(Event("ERROR", status), None)
            self.tell(None, None)
            return
        for change in missed:
            self.changed(self.kind, change)
        self.server.listen(self.changed, self.kind)

    def end(self) -> None:
        """Nobody listens any more."""
        self.server.forget(self.changed, self.kind)

    def bookmark(self) -> None:
        """Tell how far everything was told."""
        obj = {
            "apiVersion": self.kind.api_version, "kind": self.kind.kind,
            "metadata": {"resourceVersion": str(self.server.version)},
        }  # fmt: skip
        self.tell(Event("BOOKMARK", obj), None)

    def changed(self, kind: Kind, change: Change) -> None:
        """One more change of the log."""
        if self.namespace is not None and change.obj["metadata"]["namespace"] != self.namespace:
            return
        what, obj = change.type, change.obj
        if self.labels or self.fields:
            now = selected(change.obj, self.labels, self.fields)
            before = change.before is not None and selected(change.before, self.labels, self.fields)
            if what == "DELETED" and not before:
                return
            if what != "DELETED":
                if not now and not before:
                    return
                what = "DELETED" if not now else "MODIFIED" if before else "ADDED"
                if not now:
                    assert change.before is not None
                    obj = at_version(change.before, change.version)
        self.tell(Event(what, obj), version_of(obj) if is_ours(obj) else None)


def answer(server: ApiServer, call: Call) -> Answer:
    """Carry out a request that is no watch."""
    if call.path == "/version":
        return Answer(200, {"gitVersion": "v1.34.4"}, {})
    try:
        if call.path.endswith("/tokenreviews"):
            return _success(201, _token_review(server, call.body))
        target = target_of(call.path)
        if target is None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return _carry_out(server, call, target)
    except Refused as refused:
        return refusal(refused.code, refused.reason, refused.message, refused.details)


def _carry_out(server: ApiServer, call: Call, target: Target) -> Answer:
    kind, namespace, name, subresource = target
    if call.method == "GET":
        if name is None:
            limit = int(call.params.get("limit", "0"))
            params = call.params
            found = server.list(kind, namespace, params.get("labelSelector"), params.get("fieldSelector"), limit,
                                params.get("continue"))  # fmt: skip
            return _success(200, found)
        assert namespace is not None
        return _success(200, server.get(kind, namespace, name))
    assert namespace is not None
    body = call.body
    if call.method == "POST" and subresource == "binding":
        assert name is not None
        server.bind(namespace, name, body["target"]["name"], call.agent)
        return _success(201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
    if call.method == "POST":
        dry_run = "dryRun" in call.params
        return _success(201, server.create(kind, namespace, body, call.agent, dry_run=dry_run))
    assert name is not None
    if call.method == "PATCH":
        if call.content_type != MERGE_PATCH:
            raise Refused(415, "UnsupportedMediaType", f"{call.content_type} is not simulated")
        return _success(200, server.patch(kind, namespace, name, body, call.agent, subresource))
    assert call.method == "DELETE", call.method
    wanted = body.get("preconditions") or {}
    last = server.delete(
        kind, namespace, name, call.agent, uid=wanted.get("uid"), resource_version=wanted.get("resourceVersion"),
        grace_seconds=body.get("gracePeriodSeconds"),
    )  # fmt: skip
    return _success(200, last)


def _token_review(server: ApiServer, body: Object) -> Object:
    """Workers' tokens are what they say, as long as the pod lives."""
    token = body["spec"]["token"]
    namespace, name, uid = (*token.removeprefix(WORKER_TOKEN).split("/"), "", "", "")[:3]
    pod = server.find(KINDS["pods"], namespace, name)
    if not token.startswith(WORKER_TOKEN) or pod is None or pod["metadata"]["uid"] != uid:
        return body | {"status": {"authenticated": False, "error": "the token is bound to no pod"}}
    extra = {"authentication.kubernetes.io/pod-name": [name], "authentication.kubernetes.io/pod-uid": [uid]}
    user = {"username": f"system:serviceaccount:{namespace}:default", "extra": extra}
    return body | {"status": {"authenticated": True, "audiences": body["spec"]["audiences"], "user": user}}


def _success(status: int, obj: Object) -> Answer:
    return Answer(status, obj, {}, tuple(map(version_of, filter(is_ours, obj.get("items", (obj,))))))


def is_ours(obj: Object) -> bool:
    """Whether it is an AnalysisJob or AnalysisQueue that is stored."""
    return bool(obj.get("apiVersion") == _OURS and obj["metadata"].get("resourceVersion"))


def version_of(obj: Object) -> tuple[str, int]:
    """Uid and resourceVersion."""
    return obj["metadata"]["uid"], int(obj["metadata"]["resourceVersion"])
