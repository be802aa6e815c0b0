"""Loudness of a video's sound over time, decoded as a stream in bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from klipstream_pipeline.decoding import SAMPLES_PER_SECOND, open_sound
from klipstream_pipeline.outcome import BadVideo

WINDOW_SECONDS = 0.25
WINDOW_SAMPLES = int(WINDOW_SECONDS * SAMPLES_PER_SECOND)
SILENCE_DBFS = -96.0


@dataclass(frozen=True)
class Loudness:
    """RMS level per window in dB relative to full scale, -96 to 0."""

    dbfs: NDArray[np.float64]
    window_seconds: float
    duration_seconds: float


class LoudnessMeter:
    """Measures a level per quarter of a second while the sound goes by."""

    def __init__(self) -> None:
        self._rest: NDArray[np.float32] = np.empty(0, np.float32)
        self._levels: list[NDArray[np.float64]] = []
        self._samples = 0

    def add(self, samples: NDArray[np.float32]) -> None:
        """The next samples, 16 kHz mono, full scale being -1 to 1."""
        self._samples += len(samples)
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // WINDOW_SAMPLES * WINDOW_SAMPLES
        self._levels.append(_dbfs(joined[:whole].reshape(-1, WINDOW_SAMPLES)))
        self._rest = joined[whole:].copy()

    @property
    def seconds(self) -> float:
        """How much has gone by."""
        return self._samples / SAMPLES_PER_SECOND

    def measured(self) -> Loudness:
        """All levels; what is left of a window counts where it is at least half of one. Raises BadVideo."""
        rest = [_dbfs(self._rest.reshape(1, -1))] if len(self._rest) >= WINDOW_SAMPLES // 2 else []
        dbfs = np.concatenate([*self._levels, *rest]) if self._levels or rest else np.empty(0)
        if len(dbfs) == 0:
            raise BadVideo("the video's sound is empty")
        return Loudness(dbfs, WINDOW_SECONDS, self.seconds)


def measure_loudness(video: Path, progress: Callable[[float, str], None]) -> Loudness:
    """Decode a video's sound and measure it. Raises BadVideo and NoSound."""
    meter = LoudnessMeter()
    with open_sound(video) as sound:
        for block in sound.blocks():
            meter.add(block)
            expected = sound.expected_seconds
            progress(meter.seconds / expected if expected else 0.5, f"{meter.seconds:.0f} s of sound")
    return meter.measured()


def _dbfs(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    power = np.mean(np.square(windows, dtype=np.float64), axis=1)
    levels: NDArray[np.float64] = np.maximum(SILENCE_DBFS, 10.0 * np.log10(np.maximum(power, 1e-12)))
    return levels
