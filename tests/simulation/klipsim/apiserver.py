"""A simulated API server: the rules of storage, of writes and of watches, without HTTP.

What is stored is never changed in place. Every write gets the next resourceVersion, is told to those who watch, and is
put down in the history that the judge reads. A write that changes nothing is no write, as with the real one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from klipjudge.history import Request
from klipsim.objects import Object, merged, selected
from klipsim.schema import broken_rules, with_defaults

FIRST_VERSION = 1000
LIST_SNAPSHOTS_KEPT = 8
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A resource that the server knows; there is one object for each."""

    plural: str
    group: str
    version: str
    kind: str
    status: bool = True
    """Whether it has a status subresource."""
    counts_generations: bool = True
    """Whether a change of the spec raises metadata.generation."""

    custom: bool = False
    """Whether a CustomResourceDefinition describes it."""

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


_GROUP = "analysis.klipstream.io"
ANALYSIS_JOBS = Kind("analysisjobs", _GROUP, "v1alpha1", "AnalysisJob", custom=True)
ANALYSIS_QUEUES = Kind("analysisqueues", _GROUP, "v1alpha1", "AnalysisQueue", custom=True)
JOBS = Kind("jobs", "batch", "v1", "Job")
PODS = Kind("pods", "", "v1", "Pod")
LEASES = Kind("leases", "coordination.k8s.io", "v1", "Lease", status=False, counts_generations=False)
EVENTS = Kind("events", "", "v1", "Event", status=False, counts_generations=False)
KINDS = {kind.qualified: kind for kind in (ANALYSIS_JOBS, ANALYSIS_QUEUES, JOBS, PODS, LEASES, EVENTS)}


class Refused(Exception):
    """The server does not do what was asked; becomes a Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}


class Change(NamedTuple):
    """One entry of the log that watches follow."""

    version: int
    type: str
    """ADDED, MODIFIED or DELETED."""
    obj: Object
    before: Object | None


Listener = Callable[[Kind, Change], None]


@dataclass(slots=True)
class _Collection:
    objects: dict[Key, Object] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)


class ApiServer:
    """The store and its rules. Times are seconds since the epoch, from `now`."""

    def __init__(self, rng: random.Random, now: Callable[[], float]) -> None:
        self._rng = rng
        self.now = now
        self.version = FIRST_VERSION
        self.compacted = FIRST_VERSION
        """Watches cannot begin before this resourceVersion."""
        self.history: list[Request] = []
        self.sender: tuple[float, dict[str, int], dict[str, int]] | None = None
        """Of the request that is being carried out: when it was sent, what its sender had been told, and told first."""
        self._listeners: dict[Kind, list[Listener]] = {kind: [] for kind in KINDS.values()}
        self._collections = {kind: _Collection() for kind in KINDS.values()}
        self._snapshots: dict[str, tuple[list[Object], int]] = {}
        self._as_sent: set[str] = set()
        """Uids of custom resources that are stored without their status' defaults, which reading adds. The first
        patch writes them even where it changes nothing."""

    def listen(self, listener: Listener, *kinds: Kind) -> None:
        """Tell of each change of these kinds, those that came first before the others."""
        for kind in kinds:
            self._listeners[kind].append(listener)

    def forget(self, listener: Listener, kind: Kind) -> None:
        """Tell of changes of a kind no more, if it ever was told."""
        if listener in self._listeners[kind]:
            self._listeners[kind].remove(listener)

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """One object, as it is now. Refused with 404."""
        found = self._collections[kind].objects.get((namespace, name))
        if found is None:
            raise _not_found(kind, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return self._collections[kind].objects.get((namespace, name))

    def all(self, kind: Kind) -> list[Object]:
        """All objects of a kind, in order of their names."""
        return list(self._collections[kind].objects.values())

    def list(
        self, kind: Kind, namespace: str | None, labels: str | None, fields: str | None, limit: int, token: str | None
    ) -> Object:
        """A List object: a page of one consistent snapshot. Refused with 410 when the snapshot is gone."""
        if token is not None:
            if token not in self._snapshots:
                raise Refused(410, "Expired", "The provided continue parameter is too old to display a consistent list")
            items, version = self._snapshots[token]
        else:
            found = self._collections[kind].objects
            items = [
                found[key]
                for key in sorted(found)
                if (namespace is None or key[0] == namespace) and selected(found[key], labels, fields)
            ]
            version = self.version
        metadata: Object = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            token = f"{version}-{self._rng.getrandbits(32):08x}"
            self._snapshots[token] = (items[limit:], version)
            while len(self._snapshots) > LIST_SNAPSHOTS_KEPT:
                del self._snapshots[next(iter(self._snapshots))]
            metadata |= {"continue": token, "remainingItemCount": len(items) - limit}
            items = items[:limit]
        return {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": items}

    def since(self, kind: Kind, version: int) -> Sequence[Change]:
        """The changes after a resourceVersion, oldest first. Refused with 410 when they are no longer kept."""
        if version < self.compacted:
            raise Refused(410, "Expired", f"too old resource version: {version} ({self.compacted})")
        log = self._collections[kind].log
        first = len(log)
        while first and log[first - 1].version > version:
            first -= 1
        return log[first:]

    def compact(self) -> None:
        """Forget what was before: watches from older versions, and lists that were begun, end in 410."""
        self.compacted = self.version
        self._snapshots.clear()

    def clear(self) -> None:
        """Forget everything; nobody uses it any more."""
        self.history.clear()
        self._collections.clear()
        self._snapshots.clear()

    # --- writing -----------------------------------------------------------------------------------------------

    def create(
        self, kind: Kind, namespace: str, body: Object, agent: str, *, dry_run: bool = False, generate: bool = False
    ) -> Object:
        """A new object. Refused with 422 when a rule forbids it, then with 409 when its name is taken."""
        metadata = dict(body.get("metadata") or {})
        if generate:
            metadata["name"] = metadata.pop("generateName") + self._letters(5)
        name = metadata["name"]
        if metadata.get("namespace", namespace) != namespace:
            raise Refused(400, "BadRequest", "the namespace of the provided object does not match the namespace sent")
        if metadata.get("resourceVersion"):
            raise Refused(500, "", "resourceVersion should not be set on objects to be created")
        for own in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(own, None)
        obj = body | {"apiVersion": kind.api_version, "kind": kind.kind}
        if kind.status:
            obj.pop("status", None)
        obj["metadata"] = _without_empty(metadata) | {
            "namespace": namespace, "uid": self.uid(), "creationTimestamp": self.stamp(),
            **({"generation": 1} if kind.counts_generations else {}),
        }  # fmt: skip
        if kind.custom:
            obj["spec"] = merged({}, obj["spec"])  # without nulls
            obj = with_defaults(kind.qualified, obj)
        if kind is JOBS:
            obj = obj | {"spec": {"suspend": False} | obj["spec"], "status": {}}
        if kind is PODS:
            obj = obj | {"status": {"phase": "Pending"}}
        self._judge(kind, None, obj)
        if (namespace, name) in self._collections[kind].objects:
            message = f'{kind.qualified} "{name}" already exists'
            raise Refused(409, "AlreadyExists", message, {"name": name, "group": kind.group, "kind": kind.plural})
        if dry_run:
            return obj
        created = self._commit(kind, "create", "", None, obj, agent)
        if kind.custom:
            self._as_sent.add(created["metadata"]["uid"])
        return created

    def patch(self, kind: Kind, namespace: str, name: str, body: Object, agent: str, subresource: str = "") -> Object:
        """A merge patch. Refused with 404, with 409 when resourceVersion is another, with 422 when uid is."""
        before = self.get(kind, namespace, name)
        after = self._patched(kind, before, body, subresource)
        if after is before and before["metadata"]["uid"] not in self._as_sent:
            return before
        self._as_sent.discard(before["metadata"]["uid"])
        return self._commit(kind, "patch", subresource, before, after, agent)

    def _patched(self, kind: Kind, before: Object, body: Object, subresource: str) -> Object:
        after: Object = merged(before, body)
        metadata, own = after["metadata"], before["metadata"]
        if metadata is not own:
            if metadata.get("resourceVersion") != own["resourceVersion"]:
                message = (
                    f'Operation cannot be fulfilled on {kind.qualified} "{own["name"]}": the object has been'
                    " modified; please apply your changes to the latest version and try again"
                )
                raise Refused(409, "Conflict", message, {"name": own["name"], "kind": kind.plural})
            if subresource == "status" and kind.custom:
                after["metadata"] = own  # a status that is sent with another uid is written all the same
            else:
                after["metadata"] = _kept(kind, own, metadata)
        if subresource == "status":
            after = after | {"spec": before["spec"], "status": after.get("status") or {}}
        elif kind.status:
            kept = {"status": before["status"]} if "status" in before else {}
            after = {key: value for key, value in after.items() if key != "status"} | kept
        if kind.custom:
            after = with_defaults(kind.qualified, after, "status" if subresource == "status" else None)
        if kind.counts_generations and after.get("spec") != before.get("spec"):
            after["metadata"] = after["metadata"] | {"generation": own["generation"] + 1}
        if after == before:
            return before
        self._judge(kind, before, after)
        return after

    def bind(self, namespace: str, name: str, node: str, agent: str) -> Object:
        """Give a pod its node, and say so in its conditions, in one write that is no change of its spec.

        Refused with 404, and with 409 when it has one or is being deleted.
        """
        before = self.get(PODS, namespace, name)
        if before["spec"].get("nodeName") or "deletionTimestamp" in before["metadata"]:
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on pods/binding "{name}": it has a node')
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self.stamp()}
        conditions = [each for each in before["status"].get("conditions") or () if each["type"] != "PodScheduled"]
        after = before | {
            "spec": before["spec"] | {"nodeName": node},
            "status": before["status"] | {"conditions": [*conditions, scheduled]},
        }
        return self._commit(PODS, "create", "binding", before, after, agent)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        agent: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Object:
        """Delete, or begin to: an object with finalizers, or a pod on a node, only gets its deletionTimestamp.

        Refused with 404, and with 409 when the preconditions do not hold.
        """
        before = self.get(kind, namespace, name)
        metadata = before["metadata"]
        for field_name, wanted, found in (
            ("UID", uid, metadata["uid"]), ("ResourceVersion", resource_version, metadata["resourceVersion"]),
        ):  # fmt: skip
            if wanted is not None and wanted != found:
                message = (
                    f"Precondition failed: {field_name} in precondition: {wanted}, {field_name} in object meta: {found}"
                )
                raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {kind.plural} "{name}": {message}')
        grace = self._grace(kind, before, grace_seconds)
        if not (grace or metadata.get("finalizers") or kind is PODS):
            return self._remove(kind, "delete", before, before, agent)
        marked = "deletionTimestamp" in metadata
        if marked and grace_seconds is None:
            return before  # only a shorter time that is named hastens it, even if the pod has ended
        if not marked or metadata.get("deletionGracePeriodSeconds", 0) > grace:
            marks = {"deletionTimestamp": self.stamp(grace), "deletionGracePeriodSeconds": grace}
            if kind.counts_generations and not marked:
                marks["generation"] = metadata["generation"] + 1
            after = before | {"metadata": metadata | marks}
            if grace or metadata.get("finalizers"):
                return self._commit(kind, "delete", "", before, after, agent)
            before = self._store(kind, before, after)  # also a pod that goes at once is told twice
        elif grace or metadata.get("finalizers"):
            return before
        return self._remove(kind, "delete", before, before, agent)

    @staticmethod
    def _grace(kind: Kind, obj: Object, asked: int | None) -> int:
        """Seconds that a pod has to end; nobody waits for one that has no node or has ended."""
        if kind is not PODS or not obj["spec"].get("nodeName"):
            return 0
        if asked is not None:
            return asked
        if obj["status"].get("phase") in ("Succeeded", "Failed"):
            return 0
        return int(obj["spec"].get("terminationGracePeriodSeconds", 30))

    def change(self, kind: Kind, obj: Object, body: Object, agent: str, subresource: str = "") -> Object | None:
        """A patch by one of Kubernetes' own components, if the object is still the one at hand; None if it is gone."""
        metadata = obj["metadata"]
        live = self.find(kind, metadata["namespace"], metadata["name"])
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            return None
        return self.patch(kind, metadata["namespace"], metadata["name"], body, agent, subresource)

    # --- inside ------------------------------------------------------------------------------------------------

    def _judge(self, kind: Kind, before: Object | None, after: Object) -> None:
        broken = broken_rules(kind.qualified, before, after)
        if broken:
            name = after["metadata"]["name"]
            causes = [{"reason": "FieldValueInvalid", "message": message, "field": where} for where, message in broken]
            told = ", ".join(f"{where}: Invalid value: {message}" for where, message in broken)
            raise Refused(422, "Invalid", f'{kind.kind} "{name}" is invalid: {told}', {"causes": causes, "name": name})
        # That where the pods of a suspended Job may run can be changed before it starts is not needed here.
        if kind is JOBS and before is not None and before["spec"] is not after["spec"]:
            for name in ("template", "completions"):
                if before["spec"].get(name) != after["spec"].get(name):
                    raise _immutable(kind, after["metadata"]["name"], f"spec.{name}")

    def _commit(
        self, kind: Kind, verb: str, subresource: str, before: Object | None, after: Object, agent: str
    ) -> Object:
        metadata = after["metadata"]
        let_go = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if before is not None and let_go and (kind is not PODS or metadata.get("deletionGracePeriodSeconds") == 0):
            return self._remove(kind, verb, before, after, agent)
        after = self._store(kind, before, after)
        self._note(kind, verb, subresource, after, agent)
        return after

    def _store(self, kind: Kind, before: Object | None, after: Object) -> Object:
        self.version += 1
        metadata = after["metadata"]
        after = after | {"metadata": metadata | {"resourceVersion": str(self.version)}}
        collection = self._collections[kind]
        collection.objects[metadata["namespace"], metadata["name"]] = after
        self._tell(kind, Change(self.version, "ADDED" if before is None else "MODIFIED", after, before))
        return after

    def _remove(self, kind: Kind, verb: str, stored: Object, answer: Object, agent: str) -> Object:
        """Watches are told what was stored last; whoever let it go is answered with what he made of it."""
        self.version += 1
        metadata = stored["metadata"]
        del self._collections[kind].objects[metadata["namespace"], metadata["name"]]
        self._note(kind, verb, "", answer, agent)
        self._tell(kind, Change(self.version, "DELETED", at_version(stored, self.version), stored))
        return answer

    def _tell(self, kind: Kind, change: Change) -> None:
        self._collections[kind].log.append(change)
        for listener in self._listeners[kind]:
            listener(kind, change)

    def _note(self, kind: Kind, verb: str, subresource: str, answer: Object, agent: str) -> None:
        now, metadata = self.now(), answer["metadata"]
        sent, seen, first_seen = self.sender or (0.0, None, None)
        self.sender = None  # what else it brings about is not the sender's
        self.history.append(
            Request(
                self.version, now, now, agent, verb, kind.qualified, subresource, metadata["namespace"],
                metadata["name"], 201 if verb == "create" else 200, answer, sent=sent, seen=seen, first_seen=first_seen,
            )
        )  # fmt: skip

    def uid(self) -> str:
        """A new uid, in the form of a UUID."""
        text = f"{self._rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _letters(self, count: int) -> str:
        return "".join(self._rng.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(count))

    def stamp(self, later_seconds: float = 0.0) -> str:
        """A time of the API: whole seconds."""
        return _stamp(int(self.now() + later_seconds))


@lru_cache(maxsize=1024)
def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def at_version(obj: Object, version: int) -> Object:
    """The object with another resourceVersion: what is deleted is told as it was, at the version of its deletion."""
    return obj | {"metadata": obj["metadata"] | {"resourceVersion": str(version)}}


def _kept(kind: Kind, own: Object, metadata: Object) -> Object:
    """Metadata after a patch: what is the server's stays, what is empty is left out. Refused with another uid."""
    if metadata.get("uid") != own["uid"]:
        raise _immutable(kind, own["name"], "metadata.uid")
    for name in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(name) != own.get(name):
            metadata = {key: value for key, value in metadata.items() if key != name}
            metadata |= {name: own[name]} if name in own else {}
    return _without_empty(metadata)


def _without_empty(metadata: Object) -> Object:
    if all(metadata.get(name, True) for name in _MAY_BE_EMPTY):
        return metadata
    return {key: value for key, value in metadata.items() if value or key not in _MAY_BE_EMPTY}


_MAY_BE_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")


def _immutable(kind: Kind, name: str, where: str) -> Refused:
    causes = [{"reason": "FieldValueInvalid", "message": "field is immutable", "field": where}]
    message = f'{kind.kind} "{name}" is invalid: {where}: field is immutable'
    return Refused(422, "Invalid", message, {"causes": causes, "name": name})


def _not_found(kind: Kind, name: str) -> Refused:
    message = f'{kind.qualified} "{name}" not found'
    return Refused(404, "NotFound", message, {"name": name, "group": kind.group, "kind": kind.plural})
