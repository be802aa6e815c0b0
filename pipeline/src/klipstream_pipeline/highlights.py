"""Loud moments: peaks of the loudness that stand out from what the video sounds like otherwise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import find_peaks, peak_widths

from klipstream_pipeline.loudness import Loudness

BASELINE_SECONDS = 12.0
"""The level around a moment is the median over this long, so a slowly changing background is no highlight."""
LEAST_RISE_DB = 9.0
LEAST_DEVIATIONS = 5.0
APART_SECONDS = 4.0
LOUD_ENOUGH_DBFS = -50.0


@dataclass(frozen=True)
class Highlight:
    """A loud moment; seconds from the start of the video, rise in dB above what surrounds it."""

    start_seconds: float
    peak_seconds: float
    end_seconds: float
    rise_db: float


def find_highlights(loudness: Loudness) -> list[Highlight]:
    """Peaks that rise well above their surroundings; an even video has none, and that is a valid answer.

    The threshold is the larger of 9 dB and five robust deviations (1.48 times the median absolute deviation), so
    that a restless video needs more to stand out.
    """
    rise = _rise(loudness)
    deviation = 1.4826 * float(np.median(np.abs(rise - np.median(rise))))
    threshold = max(LEAST_RISE_DB, LEAST_DEVIATIONS * deviation)
    padded = np.concatenate([[0.0], rise, [0.0]])
    apart = max(1, round(APART_SECONDS / loudness.window_seconds))
    peaks, _ = find_peaks(padded, height=threshold, prominence=threshold * 0.75, distance=apart)
    _, _, left, right = peak_widths(padded, peaks, rel_height=0.5)
    found = []
    for peak, begin, end in zip(peaks, left, right, strict=True):
        if loudness.dbfs[peak - 1] < LOUD_ENOUGH_DBFS:
            continue
        seconds = loudness.window_seconds
        found.append(
            Highlight(
                start_seconds=round(max(0.0, (float(begin) - 1) * seconds), 2),
                peak_seconds=round((int(peak) - 0.5) * seconds, 2),
                end_seconds=round(min(loudness.duration_seconds, float(end) * seconds), 2),
                rise_db=round(float(padded[peak]), 1),
            )
        )
    return found


def _rise(loudness: Loudness) -> NDArray[np.float64]:
    """Level above the moving median, smoothed over three quarters of a second."""
    size = max(3, round(BASELINE_SECONDS / loudness.window_seconds))
    smooth = np.convolve(np.pad(loudness.dbfs, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    baseline: NDArray[np.float64] = median_filter(smooth, size=min(size, len(smooth)), mode="nearest")
    return smooth - baseline
