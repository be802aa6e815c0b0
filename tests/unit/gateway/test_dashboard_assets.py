"""What pages load is what was vendored, with its licence, and templates hold nothing that the policy forbids."""

import hashlib
import re
from pathlib import Path

import pytest

from klipstream_gateway.dashboard import assets as module
from klipstream_gateway.dashboard.assets import FOLDER, VENDOR, assets, vendored

TEMPLATES = sorted((FOLDER.parent / "templates").glob("*.html"))


@pytest.mark.parametrize("each", vendored(), ids=lambda each: each.file)
def test_a_vendored_file_is_the_one_that_was_taken_in_and_its_licence_is_shipped(each):
    assert hashlib.sha256((VENDOR / each.file).read_bytes()).hexdigest() == each.sha256
    licence = (VENDOR / each.licence_file).read_text()
    assert each.licence in ("0BSD", "MIT")
    assert "Permission" in licence


def test_nothing_else_lies_among_the_vendored_files():
    known = {each.file for each in vendored()} | {each.licence_file for each in vendored()} | {"manifest.json"}
    assert {path.name for path in VENDOR.iterdir()} == known


def test_a_vendored_file_that_was_changed_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for path in VENDOR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "htmx.min.js").write_text("alert(1)")
    monkeypatch.setattr(module, "VENDOR", tmp_path)
    with pytest.raises(ValueError, match=r"htmx\.min\.js"):
        assets()


def test_every_file_has_an_address_that_changes_with_it():
    found = assets()
    assert {"dashboard.css", "dashboard.js", "htmx.min.js", "uPlot.min.css", "icon.svg"} <= set(found)
    code = [each for name, each in found.items() if not name.endswith(".LICENSE")]
    assert len({each.version for each in code}) == len(code)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_anything_inline(path: Path):
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=|\son[a-z]+\s*=|hx-on|hx-vals=.js:|javascript:", text)
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"\|\s*safe\b", text)
