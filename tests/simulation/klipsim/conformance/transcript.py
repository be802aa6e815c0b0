"""What a client sees, put down so that two clusters can be compared: without uids, versions, times and namespaces."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

import orjson

from klipsim.objects import Object
from klipstream_kube import ApiError, Client, Gone, Resource

_METADATA = ("name", "generation", "labels", "annotations", "finalizers", "deletionGracePeriodSeconds")
_OWN_SPEC = {
    # What the operator reads of Kubernetes' own kinds; defaults that it does not read are not simulated.
    "Job": ("suspend", "backoffLimit", "completions", "parallelism", "podReplacementPolicy"),
    "Pod": ("nodeName", "activeDeadlineSeconds"),
}
_POD_STATUS = ("phase", "reason", "message")
# A value is shown as text, as one word, or (by 1.32, of an immutable template) as Go prints a struct; 1.37 leaves out
# that of a broken rule, and names of an immutable template the part that was changed.
_VALUE_PREFIX = re.compile(r'^Invalid value: (?:(?:"(?:[^"\\]|\\.)*"|[\w.]+\{.*\}|\S+): )?')
_TEMPLATE = "spec.template"


class Transcript:
    """Lines of one case, in the order in which things were seen."""

    def __init__(self, namespace: str) -> None:
        self.lines: list[str] = []
        self._namespace = namespace
        self._uids: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    def note(self, what: str, seen: Any = None) -> None:
        """One line."""
        self.lines.append(what if seen is None else f"{what}: {_text(seen)}")

    async def ask(self, what: str, request: Awaitable[Any], kind: str = "") -> Any:
        """Wait for a request and note its answer or its refusal; the answer, or None."""
        try:
            answer = await request
        except ApiError as error:
            self.note(what, self.refusal(error))
            return None
        self.note(what, self.seen(answer, kind) if isinstance(answer, dict) else "done")
        return answer

    def refusal(self, error: ApiError) -> Object:
        """Code, reason and class of an error, and which fields it names for which reason."""
        seen: Object = {"code": error.status, "reason": error.reason, "class": type(error).__name__}
        causes = {
            (_field(str(cause.get("field"))), _VALUE_PREFIX.sub("", str(cause.get("message"))))
            for cause in error.details.get("causes") or ()
        }
        if causes:
            # The uid of a Job is in its labels and selector too, which are then named as well.
            seen["causes"] = [each for each in sorted(causes) if each[0] == "metadata.uid"] or sorted(causes)
        return seen

    def seen(self, obj: Object, kind: str = "") -> Object:
        """An object. Typed lists leave the kind of their items out, so `kind` may say it."""
        kind = obj.get("kind") or kind
        if kind == "Status":
            return {"Status": obj.get("status"), "code": obj.get("code")}
        metadata = obj["metadata"]
        shown: Object = {key: metadata[key] for key in _METADATA if metadata.get(key) not in (None, {})}
        if kind == "Pod":
            # 1.32 does not count it yet, and nobody of ours reads it.
            shown.pop("generation", None)
        shown["kind"] = kind
        shown["uid"] = self._known(self._uids, metadata.get("uid"), "u")
        shown["version"] = self._known(self._versions, metadata.get("resourceVersion"), "v")
        shown["namespace"] = "own" if metadata.get("namespace") == self._namespace else metadata.get("namespace")
        if "deletionTimestamp" in metadata:
            shown["deleted"] = True
        if "creationTimestamp" not in metadata:
            shown["created"] = False
        if (owners := metadata.get("ownerReferences")) is not None:
            shown["owners"] = [(owner["kind"], owner.get("controller")) for owner in owners]
        shown |= self._body(kind, obj)
        return shown

    @staticmethod
    def _body(kind: str, obj: Object) -> Object:
        if kind not in _OWN_SPEC:
            return {key: obj[key] for key in ("spec", "status", "reason", "message", "type") if key in obj}
        status = obj.get("status") or {}
        spec = {key: obj["spec"][key] for key in _OWN_SPEC[kind] if key in obj["spec"]}
        spec["containers"] = [
            each["image"] for each in (obj["spec"].get("template", {}).get("spec") or obj["spec"])["containers"]
        ]
        shown = {"spec": spec, "conditions": conditions_of(obj)}
        if kind == "Job":
            return shown | {"pods": [status.get("active", 0), status.get("terminating") or 0]}
        states = [(each["name"], each["state"]) for each in status.get("containerStatuses") or ()]
        return shown | {"status": {key: status[key] for key in _POD_STATUS if key in status}, "states": states}

    def version(self, version: str) -> str:
        """A resourceVersion as v1, v2, … in the order in which they were first seen."""
        return self._known(self._versions, version, "v")

    @staticmethod
    def _known(known: dict[str, str], value: str | None, letter: str) -> str:
        return "none" if not value else known.setdefault(value, f"{letter}{len(known) + 1}")

    async def watched(
        self,
        what: str,
        client: Client,
        resource: Resource,
        version: str,
        *,
        seconds: int = 2,
        labels: str | None = None,
        fields: str | None = None,
    ) -> None:
        """Note every event after a version until the server ends the watch."""
        opened: list[bool] = []
        stream = client.watch(
            resource, self._namespace, resource_version=version, label_selector=labels, field_selector=fields,
            timeout_seconds=seconds, on_open=lambda: opened.append(True),
        )  # fmt: skip
        try:
            async with aclosing(stream) as events:
                async for type_, obj in _without_bookmarks(events):
                    self.note(f"{what}, {type_}", self.seen(obj, resource.kind))
        except Gone as gone:
            self.note(what, self.refusal(gone) | {"opened": bool(opened)})

    async def listed(
        self, what: str, client: Client, resource: Resource, labels: str | None = None, fields: str | None = None
    ) -> None:
        """Note what a list shows, in its order."""
        items, version = await client.list(resource, self._namespace, label_selector=labels, field_selector=fields)
        newest = max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)
        self.note(what, [self.seen(item, resource.kind) for item in items])
        self.note(f"{what}: its version is not older than any of its items", int(version) >= newest)


def conditions_of(obj: Object) -> dict[str, str]:
    """Reason by type of the conditions that are true."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return {each["type"]: each.get("reason", "") for each in conditions if each["status"] == "True"}


async def _without_bookmarks(events: AsyncIterator[tuple[str, Object]]) -> AsyncIterator[tuple[str, Object]]:
    """When they come depends on the watch's time limit, which nobody but these cases sets so short."""
    async for type_, obj in events:
        if type_ != "BOOKMARK":
            yield type_, obj


def _text(seen: Any) -> str:
    return seen if isinstance(seen, str) else orjson.dumps(_numbers(seen), option=orjson.OPT_SORT_KEYS).decode()


def _numbers(seen: Any) -> Any:
    """Whole numbers as integers: the real server writes 0.0 as 0."""
    if isinstance(seen, dict):
        return {key: _numbers(value) for key, value in seen.items()}
    if isinstance(seen, list | tuple):
        return [_numbers(value) for value in seen]
    return int(seen) if isinstance(seen, float) and seen.is_integer() else seen


def _field(path: str) -> str:
    return _TEMPLATE if path.startswith(f"{_TEMPLATE}.") else path
