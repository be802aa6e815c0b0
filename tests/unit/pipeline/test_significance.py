"""The statistics: calibrated where nothing happens, and blind to what only one signal says."""

import numpy as np
import pytest

from klipstream_pipeline.significance import (
    adaptive_threshold,
    at_least_two,
    dispersion,
    empirical_null,
    expected_by_chance,
    fisher,
    gamma_score,
    moving_sum,
    runs,
    surroundings,
    tail,
)


def test_fisher_of_uniform_p_values_is_uniform() -> None:
    combined = fisher(np.random.default_rng(1).random((100_000, 3)))
    for level in (0.5, 0.1, 0.01):
        assert np.mean(combined <= level) == pytest.approx(level, rel=0.1)


def test_one_signal_however_strong_leaves_the_selection_uniform() -> None:
    p_values = np.random.default_rng(2).random((100_000, 4))
    p_values[:, 1] = 1e-30
    _, selection = at_least_two(p_values)
    for level in (0.5, 0.1, 0.01):
        assert np.mean(selection <= level) == pytest.approx(level, rel=0.1)


def test_where_nothing_happens_significance_is_rarer_than_promised() -> None:
    random = np.random.default_rng(3)
    false = 0
    for _ in range(400):
        filtered, selection = at_least_two(random.random((360, 4)))
        false += len(runs(np.flatnonzero(selection <= adaptive_threshold(filtered, selection, 4, 0.1))))
    assert false / 400 <= 0.13


def test_places_where_one_signal_is_real_do_not_break_the_promise() -> None:
    random = np.random.default_rng(4)
    false = 0
    for _ in range(400):
        p_values = random.random((360, 4))
        p_values[random.choice(360, 30, replace=False), random.integers(0, 4, 30)] = 1e-9
        filtered, selection = at_least_two(p_values)
        false += len(runs(np.flatnonzero(selection <= adaptive_threshold(filtered, selection, 4, 0.1))))
    assert false / 400 <= 0.15


def test_the_more_stands_out_alone_the_lower_the_threshold() -> None:
    random = np.random.default_rng(5)
    p_values = random.random((360, 4))
    quiet = adaptive_threshold(*at_least_two(p_values), 4, 0.1)
    p_values[:60, 0] = 1e-9
    assert adaptive_threshold(*at_least_two(p_values), 4, 0.1) < quiet


def test_a_longer_recording_has_a_lower_threshold() -> None:
    random = np.random.default_rng(6)
    short, long = (adaptive_threshold(*at_least_two(random.random((n, 4))), 4, 0.1) for n in (36, 4320))
    assert long < short


def test_the_expectation_grows_with_the_bound() -> None:
    filtered, selection = at_least_two(np.random.default_rng(7).random((100, 3)))
    assert expected_by_chance(0.01, filtered, selection, 3) < expected_by_chance(0.05, filtered, selection, 3)


def test_a_step_in_the_level_is_no_peak_but_a_peak_is() -> None:
    series = np.concatenate([np.zeros(200), np.full(200, 10.0)])
    series[100:105] = 10.0
    rise = series - surroundings(series, 60, 8, 10)
    assert rise[102] == pytest.approx(10.0)
    assert rise[195:220].max() <= 0.0


def test_the_surroundings_of_a_short_series_are_its_median() -> None:
    assert list(surroundings(np.array([1.0, 2.0, 9.0]), 60, 8, 10)) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("shape", [0.8, 2.0, 10.0])
def test_scores_of_overdispersed_counts_keep_the_upper_tail(shape: float) -> None:
    """A negative binomial of mean 20: a normal approximation would call three times too many of them rare."""
    mean = 20.0
    random = np.random.default_rng(8)
    counts = random.poisson(random.gamma(shape, mean / shape, 400_000)).astype(float)
    score = gamma_score(counts, np.full(len(counts), mean), 1.0 + mean / shape)
    assert np.mean(tail(score[:200_000]) <= 0.001) <= 0.002


def test_the_dispersion_is_that_of_the_quiet_time() -> None:
    random = np.random.default_rng(9)
    counts = random.poisson(20.0, 2000).astype(float)
    counts[::5] += 60.0
    assert dispersion(counts, np.full(2000, 20.0)) == pytest.approx(1.0, abs=0.3)


def test_events_and_silence_make_the_empirical_null_more_careful_at_most() -> None:
    random = np.random.default_rng(10)
    score = random.normal(3.0, 2.0, 2000)
    score[:300] = 40.0
    score[300:500] = -80.0
    own = empirical_null(score, least_scale=0.1)
    assert 0.6 < np.std(own[500:]) < 1.05
    assert abs(float(np.mean(own[500:]))) < 0.4


def test_a_moving_sum_ends_with_the_series() -> None:
    assert list(moving_sum(np.ones(5), 3)) == [2.0, 3.0, 3.0, 3.0, 2.0]


def test_runs_join_neighbours() -> None:
    assert runs([0, 1, 2, 5, 7, 8]) == [(0, 2), (5, 5), (7, 8)]
