"""docs/dashboard.md names tests and pictures that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/dashboard.md").read_text()


def test_every_test_that_the_guide_names_is_there():
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named <= known


def test_every_picture_is_there_small_and_has_words():
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", PAGE)
    assert pictures
    for words, address in pictures:
        assert words
        assert (ROOT / "docs" / address).stat().st_size < 200_000
