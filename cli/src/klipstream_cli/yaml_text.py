"""YAML in and out, by libyaml where PyYAML has it (ten times faster)."""

from __future__ import annotations

from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


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


def dump(value: Any) -> str:
    """A document in block style, keys in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))


def _words(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark is not None and problem else str(error) or type(error).__name__
