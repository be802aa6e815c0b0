"""The policy of docs/versions.md: what a released v1alpha1 accepts and keeps, today's accepts and keeps as well."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from klipstream_api.crds import manifests

RELEASED = sorted(Path(__file__).with_name("released").glob("*/*.yaml"))
"""crds/ of each release (tests/unit/released/VERSION), copied there when it was made."""
UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")
LOWER = ("minimum", "minLength", "minItems", "minProperties")
SAME = ("type", "pattern", "format", "default", "nullable", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
Schema = dict[str, Any]


def broken(released: Schema, now: Schema, path: str = "") -> Iterator[str]:
    """What objects of a released schema would lose, or be refused for, under another one."""
    required = set(now.get("required", ())) - set(released.get("required", ()))
    yield from (f"{path}.{name} is newly required" for name in sorted(required))
    if "enum" in now and not set(released.get("enum", ["anything"])) <= set(now["enum"]):
        yield f"{path} takes fewer values"
    yield from (f"{path}: {key} is lower" for key in UPPER if now.get(key, 2**63) < released.get(key, 2**63))
    yield from (f"{path}: {key} is higher" for key in LOWER if now.get(key, 0) > released.get(key, 0))
    yield from (f"{path}: {key} changed" for key in SAME if now.get(key) != released.get(key))
    for name, schema in released.get("properties", {}).items():
        known = now.get("properties", {}).get(name)
        yield from [f"{path}.{name} is gone"] if known is None else broken(schema, known, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(released.get(inner), dict):
            yield from broken(released[inner], now.get(inner) or {}, f"{path}[]")


def version_of(definition: Schema) -> Schema:
    """v1alpha1 of a definition."""
    return next(each for each in definition["spec"]["versions"] if each["name"] == "v1alpha1")


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_what_a_released_definition_accepted_is_accepted_and_kept(file: Path) -> None:
    released, now = version_of(yaml.safe_load(file.read_text())), version_of(yaml.safe_load(manifests()[file.name]))
    assert now["served"]
    assert list(broken(released["schema"]["openAPIV3Schema"], now["schema"]["openAPIV3Schema"])) == []
    assert all(each in now.get("selectableFields", []) for each in released.get("selectableFields", []))


def test_each_release_has_both_definitions() -> None:
    folders = {file.parent for file in RELEASED}
    assert {folder.name for folder in folders} >= {"0.1.0"}
    assert all({file.name for file in folder.iterdir()} == set(manifests()) for folder in folders)


def _spec(schema: Schema) -> Schema:
    spec: Schema = schema["properties"]["spec"]
    return spec


BREAKING: dict[str, Callable[[Schema], object]] = {
    ".spec.videoId is gone": lambda schema: _spec(schema)["properties"].pop("videoId"),
    ".spec.videoId is newly required": lambda schema: _spec(schema).setdefault("required", []).append("videoId"),
    ".spec.priority takes fewer values": lambda schema: _spec(schema)["properties"]["priority"]["enum"].remove("LOW"),
    ".spec.videoId: maxLength is lower": lambda schema: _spec(schema)["properties"]["videoId"].update(maxLength=1),
    ".spec.maxRetries: minimum is higher": lambda schema: _spec(schema)["properties"]["maxRetries"].update(minimum=9),
    ".spec.priority: default changed": lambda schema: _spec(schema)["properties"]["priority"].update(default="LOW"),
}


@pytest.mark.parametrize("finding", BREAKING)
def test_a_breaking_change_is_found(finding: str) -> None:
    today = version_of(yaml.safe_load(manifests()["analysisjobs.yaml"]))["schema"]["openAPIV3Schema"]
    changed = copy.deepcopy(today)
    BREAKING[finding](changed)
    assert finding in list(broken(today, changed))
