"""Every risk of the table in docs/rest-api-security.md names tests, and those tests are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/rest-api-security.md").read_text()
ROWS = dict(re.findall(r"^\| (API\d+) [^|]+\|[^|]+\| (.+) \|$", PAGE, re.MULTILINE))
FILES = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
TESTS = {name for text in FILES.values() for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)}


def test_all_ten_risks_have_a_row():
    assert list(ROWS) == [f"API{number}" for number in range(1, 11)]


@pytest.mark.parametrize("risk", ROWS)
def test_a_risk_names_tests_that_are_there(risk: str):
    named = re.findall(r"`(test_\w+(?:\.py)?)`", ROWS[risk])
    assert named
    assert [name for name in named if name not in FILES and name not in TESTS] == []


def test_what_stands_below_the_table_is_there_as_well():
    below = PAGE.rpartition("|\n")[2]
    assert set(re.findall(r"`(test_\w+)`", below)) <= TESTS
