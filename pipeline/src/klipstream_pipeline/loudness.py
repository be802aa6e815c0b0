"""Loudness of a video's sound over time, decoded as a stream in bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from klipstream_pipeline.outcome import BadVideo

WINDOW_SECONDS = 0.25
SAMPLES_PER_SECOND = 16_000
SILENCE_DBFS = -96.0


@dataclass(frozen=True)
class Loudness:
    """RMS level per window in dB relative to full scale, -96 to 0."""

    dbfs: NDArray[np.float64]
    window_seconds: float
    duration_seconds: float


def measure_loudness(video: Path, progress: Callable[[float, str], None]) -> Loudness:
    """Decode the first audio stream to 16 kHz mono and measure a level per quarter of a second.

    Raises BadVideo for a file that is no video, has no sound, or cannot be decoded.
    """
    try:
        with av.open(str(video)) as container:
            return _measure(container, progress)
    except (av.FFmpegError, EOFError) as error:
        raise BadVideo(f"the file cannot be decoded: {error}") from error


def _measure(container: av.container.InputContainer, progress: Callable[[float, str], None]) -> Loudness:
    if not container.streams.audio:
        raise BadVideo("the video has no sound, so there is nothing to find in it")
    duration = container.duration / av.time_base if container.duration else None
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLES_PER_SECOND)
    window = int(WINDOW_SECONDS * SAMPLES_PER_SECOND)
    rest = np.empty(0, np.float32)
    levels: list[NDArray[np.float64]] = []
    decoded = 0
    for frame in container.decode(container.streams.audio[0]):
        for mono in resampler.resample(frame):
            samples = np.concatenate([rest, mono.to_ndarray().reshape(-1)])
            whole = len(samples) // window * window
            levels.append(_dbfs(samples[:whole].reshape(-1, window)))
            rest = samples[whole:]
            decoded += mono.samples
        seconds = decoded / SAMPLES_PER_SECOND
        progress(seconds / duration if duration else 0.5, f"{seconds:.0f} s of sound")
    if len(rest) >= window // 2:
        levels.append(_dbfs(rest.reshape(1, -1)))
    dbfs = np.concatenate(levels) if levels else np.empty(0)
    if len(dbfs) == 0:
        raise BadVideo("the video's sound is empty")
    return Loudness(dbfs, WINDOW_SECONDS, decoded / SAMPLES_PER_SECOND)


def _dbfs(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    power = np.mean(np.square(windows, dtype=np.float64), axis=1)
    levels: NDArray[np.float64] = np.maximum(SILENCE_DBFS, 10.0 * np.log10(np.maximum(power, 1e-12)))
    return levels
