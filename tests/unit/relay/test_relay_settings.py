"""Settings of the relay: all of them are documented, and a wrong one is named."""

import re
from pathlib import Path

import pytest

from klipfake.environment import Asked
from klipstream_relay.settings import Settings
from klipstream_service import BadSetting

PAGE = Path(__file__).resolve().parents[3] / "docs" / "webhooks.md"


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    asked = Asked()
    Settings.from_environment(asked)
    table = PAGE.read_text().split("## Settings")[1].split("## Metrics")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    documented = {f"KLIPSTREAM_{name.removeprefix('KLIPSTREAM_').lstrip('_')}"
                  for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)}  # fmt: skip
    assert documented == asked.names - {"KLIPSTREAM_IDENTITY"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATTEMPTS", "0"),
        ("ATTEMPTS", "2.5"),
        ("PROGRESS_SECONDS", "often"),
        ("ALLOWED_NETWORKS", "10.0.0.0/99"),
        ("CA_FILE", "/nowhere/ca.pem"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        Settings.from_environment({f"KLIPSTREAM_{name}": value})


def test_the_guide_s_numbers_are_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert (settings.progress_seconds, settings.timeout_seconds, settings.retries.attempts) == (30, 10, 3)
