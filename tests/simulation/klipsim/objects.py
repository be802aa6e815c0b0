"""Rules of the Kubernetes API that concern single objects: merge patches and selectors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

Object = dict[str, Any]
"""An object as the API holds it. Never changed in place once it is stored: a write makes a new one."""


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386. What the patch does not touch is shared with the target."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key), value)
        else:
            result[key] = value
    return result


def selected(obj: Object, labels: str | None, fields: str | None) -> bool:
    """Whether label and field selectors choose the object."""
    if labels:
        own = obj["metadata"].get("labels") or {}
        for key, value in _terms(labels):
            if key not in own or (value is not None and own[key] != value):
                return False
    if fields:
        for path, value in _terms(fields):
            found: Any = obj
            for part in path.removeprefix(".").split("."):
                found = (found or {}).get(part)
            if str(found if found is not None else "") != value:
                return False
    return True


@lru_cache(maxsize=1024)
def _terms(selector: str) -> tuple[tuple[str, str | None], ...]:
    """ "a,b=c" as (a, None), (b, c): existence and equality, which is all that is used here."""
    terms = []
    for term in selector.split(","):
        key, equals, value = term.replace("==", "=").partition("=")
        terms.append((key.strip(), value.strip() if equals else None))
    return tuple(terms)
