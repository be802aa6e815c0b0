"""The statistics of the search: local baselines, empirical nulls, and one test over a whole recording."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST_THRESHOLD = 0.1
"""No place is called significant above this, however few places there are."""
TRIM_PERCENT = (10, 60)
FILTER_P = 0.03
"""A place below this has at least one signal that stands out."""
LARGE_P = 0.3
"""Above this a selection says that nothing else stands out in that place."""
_NORMAL_QUARTILE = 0.6745
_MEDIAN_OF_CHI_SQUARED = 0.4549


def around(series: Array, width: int, gap: int) -> tuple[Array, Array]:
    """Windows of `width` values before and after each value, leaving out the nearest `gap`; NaN past the ends.

    Both are views of shape (len(series), width): O(len) memory whatever the width.
    """
    padded = np.pad(series, width + gap, constant_values=np.nan)
    windows = sliding_window_view(padded, width)
    return windows[: len(series)], windows[width + 2 * gap + 1 :]


def surroundings(series: Array, width: int, gap: int, least: int) -> Array:
    """The higher of the trimmed means before and after each value, so that a step in the level is no peak.

    A side with fewer than `least` values is not asked; where neither has them, the median of the whole series
    stands in.
    """
    whole = float(np.nanmedian(series)) if np.isfinite(series).any() else 0.0
    sides = np.stack([_trimmed_mean(side, least) for side in around(series, width, gap)])
    sides[np.isnan(sides)] = -np.inf
    highest: Array = sides.max(axis=0)
    highest[np.isneginf(highest)] = whole
    return highest


def _trimmed_mean(windows: Array, least: int) -> Array:
    """Mean between two percentiles of each row, the upper one low enough for a row full of events; NaN for rows with
    too few values."""
    result = np.full(len(windows), np.nan)
    block = max(1, 2_000_000 // windows.shape[1])
    for start in range(0, len(windows), block):
        rows = np.sort(windows[start : start + block], axis=1)  # NaN go last
        count = np.isfinite(rows).sum(axis=1)
        low, high = count * TRIM_PERCENT[0] // 100, -(-count * TRIM_PERCENT[1] // 100)
        sums = np.concatenate([np.zeros((len(rows), 1)), np.nancumsum(rows, axis=1)], axis=1)
        row = np.arange(len(rows))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (sums[row, high] - sums[row, low]) / (high - low)
        result[start : start + block] = np.where(count >= least, mean, np.nan)
    return result


def moving_sum(series: Array, width: int) -> Array:
    """Sum over `width` values centred on each; past the ends counts as zero."""
    sums = np.concatenate([[0.0], np.cumsum(series)])
    place = np.arange(len(series))
    low = np.clip(place - width // 2, 0, len(series))
    high = np.clip(place - width // 2 + width, 0, len(series))
    result: Array = sums[high] - sums[low]
    return result


def gamma_score(count: Array, mean: Array, dispersion: float) -> Array:
    """How many deviations a count lies above its mean, for counts whose variance is `dispersion` times the mean.

    The negative binomial is taken as the gamma of the same mean and variance, and that by the Wilson-Hilferty cube
    root (1931): its long upper tail is kept, unlike by a normal approximation.
    """
    shape = np.maximum(mean / dispersion, 0.05)
    ratio = np.maximum(count - 0.5, 0.0) / np.maximum(mean, 1e-9)
    score: Array = (np.cbrt(ratio) - (1.0 - 1.0 / (9.0 * shape))) * 3.0 * np.sqrt(shape)
    return score


def dispersion(count: Array, mean: Array) -> float:
    """Variance over mean of counts around their local means, at least 1; from those below, where no event is."""
    below = count < mean
    squares = (count - mean)[below] ** 2 / np.maximum(mean[below], 0.2)
    return max(1.0, float(np.median(squares)) / _MEDIAN_OF_CHI_SQUARED) if below.any() else 1.0


def empirical_null(score: Array, *, least_scale: float) -> Array:
    """Scores counted from the bulk of this recording: (score - middle) / scale.

    After Efron (2004), "Large-scale simultaneous hypothesis testing: the choice of a null hypothesis". Middle and
    scale are those of the shortest half: silence and a recording full of events can only widen it, which is the
    careful side.
    """
    valid = np.sort(score[np.isfinite(score)])
    half = len(valid) // 2
    if half < 8:
        return np.zeros(len(score))
    widths = valid[half:] - valid[: len(valid) - half]
    start = int(widths.argmin())
    middle = float(valid[start : start + half + 1].mean())
    scale = max(least_scale, float(widths[start]) / (2.0 * _NORMAL_QUARTILE))
    result: Array = np.where(np.isfinite(score), (score - middle) / scale, 0.0)
    return result


def tail(score: Array) -> Array:
    """Probability that a normal score is at least this high."""
    return np.array([0.5 * math.erfc(each / math.sqrt(2.0)) for each in score])


def at_least_two(p_values: Array) -> tuple[Array, Array]:
    """(filter, selection) p-values per place, for p-values of shape (places, signals), two signals or more.

    Selection is the p-value of "at most one signal stands out here" (the partial conjunction of Benjamini and Heller
    2008): Fisher's combination of all but the smallest. Filter is that of "nothing stands out here", by Bonferroni
    over all but one. However strong one signal is, it does not make the selection small.
    """
    ordered = np.sort(p_values, axis=1)
    others = ordered[:, 1:]
    filtered: Array = np.minimum(1.0, others.shape[1] * ordered[:, 0])
    return filtered, fisher(others)


def fisher(p_values: Array) -> Array:
    """Fisher's combination over the last axis: the tail of chi-squared with two degrees of freedom each."""
    half = -np.log(np.maximum(p_values, 1e-15)).sum(axis=-1)
    term = np.ones_like(half)
    total = np.ones_like(half)
    for number in range(1, p_values.shape[-1]):
        term = term * half / number
        total = total + term
    combined: Array = np.minimum(1.0, np.exp(-half) * total)
    return combined


def adaptive_threshold(filtered: Array, selection: Array, signals: int, false_share: float) -> float:
    """The bound for the selection below which places are significant; see `expected_by_chance`.

    The largest bound at which chance is expected to bring at most `false_share` of the highlights (a false discovery
    rate, after Storey 2002) and, where there would be only one, at most that many: so a recording without any event
    has one by chance in less than that share of cases. The length of the recording and the number of places are in
    that expectation.
    """
    for bound in np.geomspace(LARGEST_THRESHOLD, 1e-7, 200):
        found = len(runs(np.flatnonzero(selection <= bound)))
        if expected_by_chance(bound, filtered, selection, signals) <= false_share * max(1, found):
            return float(bound)
    return 0.0


def expected_by_chance(bound: float, filtered: Array, selection: Array, signals: int) -> float:
    """How many places chance alone brings below a bound of the selection.

    It does so in two ways. In a place where nothing stands out the selection is below the bound with the probability
    that it has for independent uniform p-values. In a place where one signal is real (music, a raid) it is uniform,
    so below the bound with a probability that is the bound itself; how many such places there are is estimated from
    those that pass the filter with a large selection. So the more places stand out in one signal only, the less the
    others may say; the idea is that of adaptive filtering (Wang, Gui, Su, Sabatti and Owen 2022).
    """
    left = (filtered <= FILTER_P) & (selection > LARGE_P)
    alone = float(left.sum()) / (1.0 - LARGE_P) + 1.0
    by_chance = _selections_by_chance(signals)
    quiet = len(filtered) * float(np.searchsorted(by_chance, bound, side="right")) / len(by_chance)
    return quiet + alone * bound


def runs(places: Sequence[int] | NDArray[np.intp]) -> list[tuple[int, int]]:
    """Neighbouring places, in ascending order, as (first, last)."""
    found: list[tuple[int, int]] = []
    for place in map(int, places):
        if found and found[-1][1] == place - 1:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    return found


@cache
def _selections_by_chance(signals: int) -> Array:
    """Sorted selections of places where nothing stands out; drawn with a fixed seed, so the same each time."""
    drawn = np.random.default_rng(20_02).random((400_000, signals))
    return np.sort(at_least_two(drawn)[1])
