"""YAML in and out, by libyaml where PyYAML has it (ten times faster)."""

from __future__ import annotations

import re
from typing import Any

import yaml

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_BOOL = re.compile(r"[yYnN]")
_TIMESTAMP = re.compile(r"\d{4}-\d\d?-\d\d?([Tt\s].*)?")


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Scalars as kubectl reads them (sigs.k8s.io/yaml): moments and 1:30 are text, 1e3 is a number, keys are text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        found = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no scalar", key_node.start_mark)
            found[_key(self.construct_object(key_node))] = self.construct_object(value_node, deep=deep)
        return found


class _Dumper(_BaseDumper):  # type: ignore[misc]
    """Text that kubectl or an older parser would take for something else is quoted."""


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return {True: "true", False: "false"}[key] if isinstance(key, bool) else "null" if key is None else str(key)


def _float(loader: Any, node: Any) -> float:
    text = str(loader.construct_scalar(node)).lower()
    number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return int(number) if number.is_integer() and abs(number) < 1e21 else number  # JSON has it without a fraction


def _bool(loader: Any, node: Any) -> bool:
    return str(loader.construct_scalar(node)).lower() in ("y", "yes", "true", "on")


def _integer(loader: Any, node: Any) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").replace("+", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 8 if digits.startswith("0") and digits != "0" else 10)
    return sign * int(digits[2:] if digits[:2] in ("0b", "0o", "0x") else digits, base)


def _text(dumper: Any, value: str) -> Any:
    alike = any(pattern.fullmatch(value) for pattern in (_FLOAT, _INTEGER, _TIMESTAMP, _BOOL))
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if alike else None)


_OWN = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN]
    for first, resolvers in _BaseLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"(?:{_INTEGER.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"(?:{_FLOAT.pattern})$"), list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(f"{_BOOL.pattern}$"), list("yYnN"))
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Dumper.add_representer(str, _text)


class BadYaml(ValueError):
    """The text is no YAML; the message says where."""


def load(text: bytes | str) -> Any:
    """One document. Raises BadYaml."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - the safe loaders, the fast one where it is there
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadYaml(_words(error)) from error


def load_all(text: bytes | str) -> list[Any]:
    """All documents but empty ones. Raises BadYaml."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadYaml(_words(error)) from error
    return [document for document in documents if document is not None]


def dump(value: Any, *, ascii_only: bool = False) -> str:
    """A document in block style, keys in their order."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only, default_flow_style=False)
    return str(text)


def _words(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark is not None and problem else str(error) or type(error).__name__
