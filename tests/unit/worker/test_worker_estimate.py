"""The seconds that remain follow from the rate of late."""

from __future__ import annotations

import pytest

from klipstream_worker.estimate import Estimator


def test_a_steady_rate_is_known_after_a_few_seconds() -> None:
    estimator = Estimator(0.0)
    estimator.observe(2.0, 2.0)
    assert estimator.remaining_seconds(2.0) is None, "too early"
    for second in range(3, 51):
        estimator.observe(float(second), float(second))
    assert estimator.remaining_seconds(50.0) == pytest.approx(50.0)


def test_it_counts_down_between_reports_no_faster_than_time_and_rises_when_nothing_happens() -> None:
    estimator = Estimator(0.0)
    estimator.observe(10.0, 50.0)
    first, later, much_later = (estimator.remaining_seconds(10.0 + wait) for wait in (0.0, 10.0, 90.0))
    assert first == pytest.approx(10.0)
    assert later is not None
    assert much_later is not None
    assert first < later < much_later


def test_what_a_checkpoint_had_is_no_work() -> None:
    estimator = Estimator(0.0)
    estimator.observe(0.1, 60.0, skipped=True)
    assert estimator.remaining_seconds(5.0) is None
    estimator.observe(10.0, 70.0)
    assert estimator.remaining_seconds(10.0) == pytest.approx(30.0)
    estimator.observe(10.1, 80.0, skipped=True)
    assert estimator.remaining_seconds(10.1) == pytest.approx(20.0, rel=0.05)


def test_a_change_of_the_rate_counts_within_minutes() -> None:
    estimator = Estimator(0.0)
    for second in range(1, 41):
        estimator.observe(float(second), float(second))
    for second in range(41, 541):
        estimator.observe(float(second), 40.0 + (second - 40) * 0.1)
    assert estimator.remaining_seconds(540.0) == pytest.approx(100.0, rel=0.05)


def test_a_million_reports_keep_little() -> None:
    estimator = Estimator(0.0)
    for report in range(200_000):
        estimator.observe(report * 0.001, report / 2000)
    assert estimator.remaining_seconds(200.0) == pytest.approx(0.0, abs=0.1)
    assert len(estimator._samples) <= 256
