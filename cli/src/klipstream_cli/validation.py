"""A manifest against the schema of its CustomResourceDefinition, in the API server's own words (pure).

What the server says is put together in k8s.io/kube-openapi (pkg/validation) and k8s.io/apiextensions-apiserver; a
test compares with the real one. Rules that see an object before and after do not apply to something new.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

from klipstream_api.crds import analysis_job_crd, analysis_queue_crd
from klipstream_cli.cel import Absent, Unsupported, evaluate

Schema = dict[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,),
    "array": (list,),
}  # fmt: skip
_KNOWN_TOP = {"apiVersion", "kind", "metadata", "spec", "status"}
_BLOCKING = (": Unsupported value: ", ": Required value", ": Too long: ", ": Too many: ", " in body must be of type ")
"""Problems after which the server does not try the rules."""
UNCHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the "
    "existing errors to complete validation"
)
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@cache
def schemas() -> dict[str, Schema]:
    """The schema of each kind of ours."""
    crds = (analysis_job_crd(), analysis_queue_crd())
    return {crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in crds}


def unknown_fields(manifest: dict[str, Any]) -> list[str]:
    """What strict decoding refuses: fields that the schema does not have, in the server's order."""
    schema = schemas()[manifest["kind"]]
    found = [f'unknown field "{key}"' for key in manifest if key not in _KNOWN_TOP]
    for part in ("spec", "status"):
        if isinstance(manifest.get(part), dict):
            found += _unknown(manifest[part], schema["properties"][part], part)
    return sorted(found)


def problems(manifest: dict[str, Any]) -> list[str]:
    """What the server would say of a new object, each as it stands in its answer; empty for a valid one."""
    schema = schemas()[manifest["kind"]]
    found = list(_metadata(manifest.get("metadata")))
    value = {key: manifest[key] for key in manifest if key != "status"}
    found += _check(value, schema, "")
    if any(mark in text for text in found for mark in _BLOCKING):
        return [*found, UNCHECKED]
    return [*found, *_rules(_with_defaults(value, schema), schema, "")]


def refusal(manifest: dict[str, Any], found: list[str]) -> str:
    """The server's whole message for these problems."""
    name = (manifest.get("metadata") or {}).get("name") or ""
    joined = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
    group = str(manifest.get("apiVersion", "")).partition("/")[0]
    return f'{manifest["kind"]}.{group} "{name}" is invalid: {joined}'


def _metadata(metadata: Any) -> Iterator[str]:
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name")
    if not name and not metadata.get("generateName"):
        yield "metadata.name: Required value: name or generateName is required"
    elif name and (not isinstance(name, str) or len(name) > 253 or not NAME.fullmatch(name)):
        yield f"metadata.name: Invalid value: {json.dumps(name)}: {NAME_RULE}"


def _unknown(value: Any, schema: Schema, path: str) -> list[str]:
    if isinstance(value, list):
        return [
            text for n, item in enumerate(value) for text in _unknown(item, schema.get("items", {}), f"{path}[{n}]")
        ]
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if "properties" not in schema:
        inner = schema.get("additionalProperties")
        return (
            [t for k, v in value.items() for t in _unknown(v, inner, f"{path}.{k}")] if isinstance(inner, dict) else []
        )
    found = []
    for key, item in value.items():
        if key in schema["properties"]:
            found += _unknown(item, schema["properties"][key], f"{path}.{key}")
        else:
            found.append(f'unknown field "{path}.{key}"')
    return found


def _check(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """The structure, depth first, keys in the server's order."""
    kind = schema.get("type", "object")
    if value is None:  # null is as if it were absent, and pruned before
        return
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind in ("integer", "number")):
        yield f'{path}: Invalid value: "{_go_type(value)}": {path} in body must be of type {kind}: "{_go_type(value)}"'
        return
    yield from _OF_TYPE[kind](value, schema, path)
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(each) for each in schema["enum"])
        yield f"{path}: Unsupported value: {_shown(value)}: supported values: {supported}"


def _string(value: str, schema: Schema, path: str) -> Iterator[str]:
    """The first of length and pattern that is wrong, and the format besides."""
    shown, least = _shown(value), schema.get("minLength", 0)
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield f"{path}: Too long: may not be more than {schema['maxLength']} bytes"
    elif len(value) < least:
        yield f"{path}: Invalid value: {shown}: {path} in body should be at least {least} chars long"
    elif "pattern" in schema and not re.search(schema["pattern"].removesuffix("$") + r"\Z", value):
        yield f"{path}: Invalid value: {shown}: {path} in body should match '{schema['pattern']}'"
    if schema.get("format") == "date-time" and not _is_moment(value):
        yield f"{path}: Invalid value: {shown}: {path} in body must be of type date-time: {shown}"


def _number(value: float, schema: Schema, path: str) -> Iterator[str]:
    if "maximum" in schema and value > schema["maximum"]:
        most = schema["maximum"]
        yield f"{path}: Invalid value: {_shown(value)}: {path} in body should be less than or equal to {most}"
    if "minimum" in schema and value < schema["minimum"]:
        least = schema["minimum"]
        yield f"{path}: Invalid value: {_shown(value)}: {path} in body should be greater than or equal to {least}"


def _array(value: list[Any], schema: Schema, path: str) -> Iterator[str]:
    if "minItems" in schema and len(value) < schema["minItems"]:
        yield f"{path}: Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items"
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxItems']} items"
    keys = schema.get("x-kubernetes-list-map-keys")
    seen: list[Any] = []
    for number, item in enumerate(value):
        yield from _check(item, schema["items"], f"{path}[{number}]")
        if keys and isinstance(item, dict):
            own = {key: item.get(key) for key in keys}
            if own in seen:
                yield f"{path}[{number}]: Duplicate value: {json.dumps(own, separators=(',', ':'))}"
            seen.append(own)


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[str]:
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxProperties']} items"
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield f"{_join(path, name)}: Required value"
    properties, inner = schema.get("properties", {}), schema.get("additionalProperties")
    for name in sorted(value):
        if name in properties:
            yield from _check(value[name], properties[name], _join(path, name))
        elif isinstance(inner, dict):
            yield from _check(value[name], inner, _join(path, name))


_OF_TYPE: dict[str, Callable[[Any, Schema, str], Iterator[str]]] = {
    "string": _string, "integer": _number, "number": _number, "array": _array, "object": _object,
    "boolean": lambda _value, _schema, _path: iter(()),
}  # fmt: skip


def _rules(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """CEL rules, of the inner values first, as the server goes."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _rules(item, schema.get("items", {}), f"{path}[{number}]")
    if isinstance(value, dict):
        for name in sorted(value):
            inner = schema.get("properties", {}).get(name)
            if isinstance(inner, dict):
                yield from _rules(value[name], inner, _join(path, name))
    for each in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" in each["rule"]:
            continue
        try:
            scope = {"self": value}
            said = "" if evaluate(each["rule"], scope) else _said(each, scope)
        except (Unsupported, Absent):
            continue  # the server will judge
        if said:
            kind = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else None
            shown = f'"{kind}"' if kind else _shown(value)
            yield f"{path or '<nil>'}: Invalid value: {shown}: {said}"


def _said(rule: Schema, scope: dict[str, Any]) -> str:
    """What the server says where a rule does not hold."""
    return str(rule["message"]) if "message" in rule else str(evaluate(rule["messageExpression"], scope))


def _with_defaults(value: Any, schema: Schema) -> Any:
    """Defaults filled in, and nulls taken out, as the server has it when it tries the rules."""
    if isinstance(value, list):
        return [_with_defaults(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    properties, filled = schema.get("properties", {}), {}
    for name, item in value.items():
        if item is not None:
            filled[name] = _with_defaults(item, properties.get(name, {}))
    for name, inner in properties.items():
        if name not in filled and "default" in inner and name != "status":
            filled[name] = _with_defaults(inner["default"], inner)
    return filled


def _is_moment(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return "T" in value.upper()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "object" if isinstance(value, dict) else "array"
