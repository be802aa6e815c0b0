"""The statistics of the search: local baselines, empirical nulls, and one test over a whole recording."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST_THRESHOLD = 0.02
"""No place is called significant above this, however few places there are."""
MOST_INFLATION = 2.0
_NORMAL_QUARTILE = 0.6745
_NORMAL_DECILE = 1.2816


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
    """Mean between the 20th and the 80th percentile of each row; NaN for rows with too few values."""
    result = np.full(len(windows), np.nan)
    block = max(1, 2_000_000 // windows.shape[1])
    for start in range(0, len(windows), block):
        rows = np.sort(windows[start : start + block], axis=1)  # NaN go last
        count = np.isfinite(rows).sum(axis=1)
        low, high = count // 5, count - count // 5
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
    """Variance over mean of counts around their local means; windows that stand out are left out, in three rounds."""
    squares = (count - mean) ** 2 / np.maximum(mean, 0.2)
    found = 1.0
    for _ in range(4):
        plain = gamma_score(count, mean, found) < 3.0
        found = max(1.0, float(squares[plain].mean())) if plain.any() else 1.0
    return found


def empirical_null(score: Array, *, least_scale: float) -> Array:
    """Scores counted from the bulk of this recording: (score - middle) / scale.

    After Efron (2004), "Large-scale simultaneous hypothesis testing: the choice of a null hypothesis". Middle and
    scale are those of the shortest half, which neither silence nor up to half a recording of events can move; where
    the upper side is wider (bursty chat), up to MOST_INFLATION times, it counts.
    """
    valid = np.sort(score[np.isfinite(score)])
    half = len(valid) // 2
    if half < 8:
        return np.zeros(len(score))
    widths = valid[half:] - valid[: len(valid) - half]
    start = int(widths.argmin())
    middle = float(valid[start : start + half + 1].mean())
    scale = max(least_scale, float(widths[start]) / (2.0 * _NORMAL_QUARTILE))
    upper = (float(np.quantile(valid, 0.9)) - middle) / _NORMAL_DECILE
    scale = max(scale, min(upper, MOST_INFLATION * scale))
    result: Array = np.where(np.isfinite(score), (score - middle) / scale, 0.0)
    return result


def tail(score: Array) -> Array:
    """Probability that a normal score is at least this high."""
    return np.array([0.5 * math.erfc(each / math.sqrt(2.0)) for each in score])


def partial_conjunction(p_values: Array, needed: int) -> tuple[Array, Array]:
    """(filter, selection) p-values of shape (places,) for `needed` of the columns being more than chance.

    Selection is the p-value of "fewer than `needed` columns stand out", filter that of one less (Benjamini and
    Heller 2008, by Bonferroni). A single column, however strong, does not make the selection small.
    """
    ordered = np.sort(p_values, axis=1)
    columns = p_values.shape[1]
    factor = columns - needed + 1
    selection = np.minimum(1.0, factor * ordered[:, needed - 1])
    if needed == 1:
        return selection, selection
    return np.minimum(1.0, factor * ordered[:, needed - 2]), selection


def threshold(filtered: Array, level: float, *, needed: int) -> float:
    """The selection p-value below which places are significant, with `level` expected by chance in all.

    Where several signals are needed this is adaptive filtering (Wang, Gui, Su, Sabatti and Owen, "Detecting multiple
    replicating signals using adaptive filtering procedures", 2022, Bonferroni variant): the more places stand out in
    one signal, the less the others may say. Otherwise it is Bonferroni's.
    """
    places = max(1, len(filtered))
    if needed == 1:
        return level / places
    ordered = np.sort(filtered)
    for divisor in range(1, places + 1):
        candidate = level / divisor
        if candidate <= LARGEST_THRESHOLD and np.searchsorted(ordered, candidate) <= divisor:
            return candidate
    return level / places
