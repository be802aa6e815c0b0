"""Merge patches of a status: guarded, no larger than the change, and absent where nothing changed."""

from typing import Any

import pytest

from klipfake.objects import job
from klipstream_api.meta import WireModel
from klipstream_operator.patches import status_patch


class Bare(WireModel):
    """Any status."""

    a: Any = None
    b: Any = None
    c: Any = None


@pytest.mark.parametrize(
    ("rule", "before", "after", "expected"),
    [
        ("what is new is set", {}, {"a": 1}, {"a": 1}),
        ("what differs is set", {"a": 1, "b": 2}, {"a": 3, "b": 2}, {"a": 3}),
        ("what went away is removed", {"a": 1, "b": 2}, {"b": 2}, {"a": None}),
        ("lists are replaced whole", {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}),
        ("of an object only what differs is sent", {"a": {"b": 1, "c": 2, "d": 3}}, {"a": {"b": 1, "c": 4}},
         {"a": {"c": 4, "d": None}}),
        ("an object that is the same is not", {"a": {"b": 1}, "c": 1}, {"a": {"b": 1}, "c": 2}, {"c": 2}),
        ("an object may be new", {}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("or take the place of a value", {"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("and the other way round", {"a": {"b": 1}}, {"a": 1}, {"a": 1}),
    ],
)  # fmt: skip
def test_a_patch_leads_from_one_status_to_another(
    rule: str, before: dict[str, Any], after: dict[str, Any], expected: dict[str, Any]
) -> None:
    metadata = job().metadata
    patch = status_patch(metadata, Bare(**before), Bare(**after))
    guard = {"resourceVersion": metadata.resource_version, "uid": metadata.uid}
    assert patch == {"metadata": guard, "status": expected}, rule


@pytest.mark.parametrize("same", [{}, {"a": 1}, {"a": {"b": [1]}}])
def test_nothing_is_written_where_nothing_changed(same: dict[str, Any]) -> None:
    assert status_patch(job().metadata, Bare(**same), Bare(**same)) is None
