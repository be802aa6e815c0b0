"""Guarded merge patches of a status: only what changed, and only if nobody wrote in between."""

from typing import Any

from klipstream_api import ObjectMeta
from klipstream_api.meta import WireModel


def status_patch(metadata: ObjectMeta, before: WireModel, after: WireModel) -> dict[str, Any] | None:
    """Merge patch from one status to another under the resourceVersion that the decision read; None if equal."""
    # What is equal need not be written out: most of a status stays as it is.
    changed = {name for name in type(after).model_fields if getattr(before, name) != getattr(after, name)}
    changes = _difference(before.to_wire(changed), after.to_wire(changed))
    if not changes:
        return None
    return {
        "metadata": {"resourceVersion": metadata.resource_version, "uid": metadata.uid},
        "status": changes,
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386: null removes a key, lists are replaced whole."""
    changes: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                changes[key] = inner
        elif key not in before or old != value:
            changes[key] = value
    return changes
