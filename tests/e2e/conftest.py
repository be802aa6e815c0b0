"""What end-to-end suites say at the very end: their figures, one line a suite."""

from collections.abc import Callable

import pytest

_FIGURES: list[str] = []


@pytest.fixture(scope="session")
def figures() -> Callable[[str], None]:
    """Keep a line for the end of the run."""
    return _FIGURES.append


def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest's own last line, so that the figures are the last thing printed."""
    for line in _FIGURES:
        print(line)
