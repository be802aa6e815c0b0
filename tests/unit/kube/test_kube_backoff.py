from __future__ import annotations

import pytest

from klipstream_kube.backoff import Backoff


def draws(failures: int, first: float = 1.0, limit: float = 60.0) -> list[float]:
    """Many waits after so many failures."""
    found = []
    for _ in range(500):
        backoff = Backoff(first, limit)
        for _ in range(failures):
            backoff.next_seconds()
        assert backoff.failures == failures
        found.append(backoff.next_seconds())
    return found


@pytest.mark.parametrize(
    ("failures", "first", "limit", "ceiling"),
    [
        (0, 1.0, 60.0, 1.0),
        (1, 1.0, 60.0, 2.0),
        (3, 0.5, 60.0, 4.0),
        (6, 1.0, 60.0, 60.0),
        (50, 1.0, 60.0, 60.0),
        (0, 9.0, 5.0, 5.0),
        (40, 1.0, 1e12, 2.0**32),
    ],
)
def test_waits_double_up_to_the_limit_and_are_drawn_from_the_upper_half(
    failures: int, first: float, limit: float, ceiling: float
) -> None:
    waits = draws(failures, first, limit)
    assert ceiling / 2 <= min(waits) < 0.6 * ceiling
    assert 0.9 * ceiling < max(waits) <= ceiling


def test_what_worked_is_a_new_beginning() -> None:
    backoff = Backoff(1.0, 60.0)
    for _ in range(10):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_seconds() <= 1.0
