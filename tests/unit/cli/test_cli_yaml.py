"""YAML is read as kubectl reads it, and what is written comes back as it was from any parser."""

from typing import Any

import pytest
import yaml

from klipstream_cli.yaml_text import BadYaml, dump, load


@pytest.mark.parametrize(
    ("text", "value"),
    [("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"), ("2026-01-02", "2026-01-02"), ("1:30", "1:30"),
     ("1e3", 1000), ("1.5e-3", 0.0015), (".5", 0.5), ("1.0", 1), ("017", 15), ("0o17", 15), ("0x1F", 31),
     ("-7", -7), ("1_000", 1000), ("yes", True), ("y", True), ("off", False), ("~", None), ("1.2.3", "1.2.3"),
     ("0b11", 3), ("1e", "1e"), ("+.inf", float("inf"))],
)  # fmt: skip
def test_plain_scalars_are_what_kubectl_takes_them_for(text: str, value: Any) -> None:
    found = load(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_and_what_cannot_be_a_key_is_bad_yaml() -> None:
    assert load("{1: a, b: c, true: d, null: e}") == {"1": "a", "b": "c", "true": "d", "null": "e"}
    assert load("a: &x {1: 2}\nb:\n  <<: *x\n  c: 3") == {"a": {"1": 2}, "b": {"1": 2, "c": 3}}
    with pytest.raises(BadYaml):
        load("{[a]: b}")


@pytest.mark.parametrize("text", ["1e3", "1:30", "y", "017", "0o17", "2026-01-02", "2026-01-02T03:04:05Z", "yes", "1",
                                  "1.5", "", "null", "ünï", "a: b", "+1", ".5e1"])  # fmt: skip
def test_text_stays_text_for_every_parser(text: str) -> None:
    for ascii_only in (False, True):
        written = dump({"a": text}, ascii_only=ascii_only)
        assert load(written) == {"a": text}
        assert yaml.safe_load(written) == {"a": text}
    assert written.isascii()
    # The API's own fields need no quotes more than kubectl gives them.
    assert dump({"name": "talk-1"}) == "name: talk-1\n"
