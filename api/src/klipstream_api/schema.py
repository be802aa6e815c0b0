"""From a pydantic model to the structural schema that a CustomResourceDefinition needs."""

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = (
    "type", "format", "description", "default", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
)  # fmt: skip
_TRANSLATED = ("const", "items", "properties", "required", "additionalProperties", "$defs")


class NotStructural(ValueError):
    """A model uses something that a structural schema cannot say."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The model's schema with references inlined and null unwrapped. Raises NotStructural."""
    generated = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(generated, generated.get("$defs", {}), model.__name__)


def _convert(node: Schema, definitions: dict[str, Schema], where: str) -> Schema:
    node = _resolve(node, definitions, where)
    if unknown := sorted(set(node) - {*_KEPT, *_TRANSLATED}):
        raise NotStructural(f"{where}: {', '.join(unknown)} would be lost: bound the field in another way")
    schema = {key: node[key] for key in _KEPT if key in node}
    if schema.get("default", 0) is None:
        del schema["default"]
    elif isinstance(schema.get("default"), dict):
        schema["default"] = {key: value for key, value in schema["default"].items() if value is not None}
    if "const" in node:
        schema["enum"] = [node["const"]]
    kind = schema.get("type")
    if kind == "integer":
        schema.setdefault("format", "int64")
    if kind == "array":
        schema["items"] = _convert(node["items"], definitions, f"{where}[]")
    elif kind == "object":
        if "properties" in node:
            if "additionalProperties" in node:
                raise NotStructural(f"{where}: properties and additionalProperties exclude each other")
            properties = node["properties"].items()
            schema["properties"] = {name: _convert(child, definitions, f"{where}.{name}") for name, child in properties}
            if node.get("required"):
                schema["required"] = node["required"]
        elif isinstance(node.get("additionalProperties"), dict):
            schema["additionalProperties"] = _convert(node["additionalProperties"], definitions, f"{where}{{}}")
        elif "x-kubernetes-preserve-unknown-fields" not in node:
            raise NotStructural(f"{where}: an object needs properties, or values of one kind")
    elif kind not in ("string", "integer", "number", "boolean"):
        raise NotStructural(f"{where}: type {kind!r} of {node}")
    return schema


def _resolve(node: Schema, definitions: dict[str, Schema], where: str) -> Schema:
    """Inline a reference and take null out of a union; what stands beside them (description, default) wins."""
    beside = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "title")}
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].rpartition("/")[2]], definitions, where) | beside
    if "anyOf" in node:
        kinds = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        if len(kinds) != 1:
            raise NotStructural(f"{where}: a union of {len(kinds)} kinds")
        return _resolve(kinds[0], definitions, where) | beside
    return {key: value for key, value in node.items() if key != "title"}
