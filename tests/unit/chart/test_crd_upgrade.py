"""Custom resources go forward only: what a newer release added is not taken away."""

from typing import Any

import pytest

from klipstream_api.crds import analysis_queue_crd
from klipstream_operator.crd_upgrade import fields_lost


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("live", "ours", "lost"),
    [
        (schema(a=TEXT), schema(a=TEXT), []),
        (schema(a=TEXT), schema(a=TEXT, b=TEXT), []),
        (schema(a=TEXT, b=TEXT), schema(a=TEXT), [".b"]),
        (schema(a=schema(b=TEXT, c=TEXT)), schema(a=schema(b=TEXT)), [".a.c"]),
        (schema(a={"items": schema(b=TEXT)}), schema(a={"items": schema()}), [".a[].b"]),
        (schema(a={"additionalProperties": schema(b=TEXT)}), schema(a={"additionalProperties": schema()}), [".a[].b"]),
        (schema(a={"items": schema(b=TEXT)}), schema(a={}), [".a[].b"]),
        (schema(a={"additionalProperties": True}), schema(a={}), []),
    ],
)  # fmt: skip
def test_a_field_that_ours_lacks_is_named_by_its_path(
    live: dict[str, Any], ours: dict[str, Any], lost: list[str]
) -> None:
    assert fields_lost(live, ours) == lost


def test_nothing_is_lost_to_a_definition_of_the_same_release() -> None:
    ours = analysis_queue_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert fields_lost(ours, ours) == []
