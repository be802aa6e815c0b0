"""What the CustomResourceDefinitions add to an object and refuse in it: defaults, and the rules about changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from klipsim.objects import Object
from klipstream_api.crds import analysis_job_crd, analysis_queue_crd

FINISHED = frozenset({"Succeeded", "Failed", "Cancelled", "Rejected"})
SEALED_FIELDS = ("videoUrl", "videoUrlFrom", "videoId", "jobId", "queueName", "type", "params", "sealed")


@dataclass(slots=True)
class _Defaults:
    """The defaults at and below one place of a schema."""

    values: dict[str, Any] = field(default_factory=dict)
    below: dict[str, _Defaults] = field(default_factory=dict)
    items: _Defaults | None = None
    others: _Defaults | None = None

    def __bool__(self) -> bool:
        return bool(self.values or self.below or self.items or self.others)


def _compile(schema: dict[str, Any]) -> _Defaults:
    found = _Defaults()
    for name, inner in (schema.get("properties") or {}).items():
        if "default" in inner:
            found.values[name] = inner["default"]
        if below := _compile(inner):
            found.below[name] = below
    found.items = _compile(schema["items"]) or None if isinstance(schema.get("items"), dict) else None
    others = schema.get("additionalProperties")
    found.others = _compile(others) or None if isinstance(others, dict) else None
    return found


_DEFAULTS = {
    f"{crd['spec']['names']['plural']}.{crd['spec']['group']}": _compile(
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    )
    for crd in (analysis_job_crd(), analysis_queue_crd())
}


def with_defaults(resource: str, obj: Object, part: str | None = None) -> Object:
    """The object with what its schema adds, or adds to a part of it that it has."""
    defaults = _DEFAULTS.get(resource)
    if defaults is None:
        return obj
    if part is None:
        filled: Object = _filled(obj, defaults)
        return filled
    inner = _filled(obj[part], defaults.below[part])
    return obj if inner is obj[part] else obj | {part: inner}


def _filled(value: Any, defaults: _Defaults) -> Any:
    if isinstance(value, list):
        return value if defaults.items is None else [_filled(item, defaults.items) for item in value]
    if not isinstance(value, dict):
        return value
    result = {name: default for name, default in defaults.values.items() if name not in value}
    result = value | result if result else value
    for name, below in defaults.below.items():
        if name in result:
            inner = _filled(result[name], below)
            if inner is not result[name]:
                result = result | {name: inner}
    if defaults.others is not None:
        result = {name: _filled(inner, defaults.others) for name, inner in result.items()}
    return result


def broken_rules(resource: str, before: Object | None, after: Object) -> list[tuple[str, str]]:
    """(field, message) of each rule of the CRDs that a write breaks; of transitions the first is told.

    What the schema itself refuses is not judged.
    """
    if resource != "analysisjobs.analysis.klipstream.io":
        return []
    spec, status = after["spec"], after.get("status") or {}
    broken = []
    if ("videoUrl" in spec) == ("videoUrlFrom" in spec):
        broken.append(("spec", "give exactly one of videoUrl and videoUrlFrom"))
    if before is None:
        return broken
    if before["spec"] is not spec:
        broken += [("spec", message) for message in _spec_rules(before["spec"], spec)[:1]]
    old = before.get("status") or {}
    if old is not status:
        broken += [("status", message) for message in _status_rules(old, status)[:1]]
    return broken


def _spec_rules(old: Object, new: Object) -> list[str]:
    broken = [
        f"{name} cannot be changed after submission: submit another AnalysisJob"
        for name in SEALED_FIELDS
        if old.get(name) != new.get(name)
    ]
    if old["cancel"] and not new["cancel"]:
        broken.append("cancel cannot be taken back: submit the video again")
    if new["replay"] < old["replay"]:
        broken.append("replay only rises: raise it by one to run a failed job again")
    return broken


def _status_rules(old: Object, new: Object) -> list[str]:
    broken = []
    replayed = new["observedReplay"] > old["observedReplay"]
    finished, same = old["phase"] in FINISHED, new["phase"] == old["phase"]
    was, now = old.get("progress"), new.get("progress")
    if finished and not same and not (old["phase"] == "Failed" and replayed):
        broken.append("a finished job stays finished; a failed one runs again only by a higher spec.replay")
    if finished and same and was is not None and now != was:
        broken.append("progress is frozen once the job is finished")
    if was is not None and not (
        now is not None
        and (
            now["attempt"] > was["attempt"]
            or (now["attempt"] == was["attempt"] and now["percentage"] >= was["percentage"])
        )
    ):
        broken.append("progress never falls within an attempt, and never goes back to an earlier one")
    if new["attempt"] < old["attempt"]:
        broken.append("the number of attempts never falls")
    if new["observedReplay"] < old["observedReplay"]:
        broken.append("the replays that were acted on never become fewer")
    if "sequence" in old and new.get("sequence") != old["sequence"] and not ("sequence" in new and replayed):
        broken.append("an accepted job keeps its place; only a replay gives it a new one")
    return broken
