"""Test videos with loud moments at known places, for the demo and the tests."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 16_000
FRAMES_PER_SECOND = 5
WIDTH, HEIGHT = 160, 90
APART_SECONDS = 8.0
EDGE_SECONDS = 3.0


@dataclass(frozen=True)
class Planted:
    """A test video and the middles of its loud moments, in seconds."""

    path: Path
    moments_seconds: tuple[float, ...]


def make_video(path: Path, seconds: float, seed: int) -> Planted:
    """Write an mp4 (MPEG-4 Part 2 and AAC) of background sound with zero to five loud moments."""
    random = np.random.default_rng(seed)
    moments = _places(random, seconds)
    sound = _sound(random, seconds, moments)
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream("mpeg4", rate=FRAMES_PER_SECOND)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        shade = int(random.integers(40, 200))
        for number in range(int(seconds * FRAMES_PER_SECOND)):
            image = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
            image[:, : 1 + number % WIDTH] = 255 - shade
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for start in range(0, len(sound), RATE):
            block = sound[start : start + RATE]
            audio = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="fltp", layout="mono")
            audio.sample_rate, audio.pts, audio.time_base = RATE, start, Fraction(1, RATE)
            container.mux(voice.encode(audio))
        container.mux(voice.encode(None))
    return Planted(path, moments)


def _places(random: np.random.Generator, seconds: float) -> tuple[float, ...]:
    """Up to five places, at least eight seconds apart and away from both ends."""
    places: list[float] = []
    wanted = int(random.integers(1, 6))
    for _ in range(200):
        place = float(random.uniform(EDGE_SECONDS, seconds - EDGE_SECONDS))
        if all(abs(place - other) >= APART_SECONDS for other in places):
            places.append(place)
        if len(places) == wanted:
            break
    return tuple(sorted(round(place, 2) for place in places))


def _sound(random: np.random.Generator, seconds: float, moments: tuple[float, ...]) -> NDArray[np.float32]:
    """Noise and hum whose level wanders slowly by a few dB, and bursts of one to two seconds."""
    time = np.arange(int(seconds * RATE)) / RATE
    wander_db = 3.0 * np.sin(2 * np.pi * time / random.uniform(20, 60) + random.uniform(0, 6))
    base = 10 ** ((-38.0 + wander_db) / 20)
    sound = base * (0.7 * random.standard_normal(len(time)) + 0.7 * np.sin(2 * np.pi * 120 * time))
    for moment in moments:
        width = random.uniform(1.0, 2.0)
        near = np.abs(time - moment) < width / 2
        envelope = np.cos(np.pi * (time[near] - moment) / width)
        level = 10 ** (random.uniform(-14.0, -8.0) / 20)
        sound[near] += level * envelope * random.standard_normal(int(near.sum()))
    return np.clip(sound, -1.0, 1.0).astype(np.float32)
