"""A history to write by hand."""

import pytest

from klipjudge.written import Log


@pytest.fixture
def log() -> Log:
    return Log()
