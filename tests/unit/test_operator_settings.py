"""Settings of the operator: docs/operations.md names all of them, and no others."""

import re
from pathlib import Path

from klipfake.environment import Asked
from klipstream_operator.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    asked = Asked()
    Settings.from_environment(asked)
    table = PAGE.read_text().split("## Settings of the operator")[1].split("\n## ")[0]
    names = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall("`([A-Z_]+)`", row.split("|")[1])
    }
    assert {f"KLIPSTREAM_{name}" for name in names} == asked.names
