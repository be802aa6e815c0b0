"""Test videos with an exciting moment at a known place, and the chat about it, for the demo and the tests."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 16_000
FRAMES_PER_SECOND = 5
WIDTH, HEIGHT = 160, 90
EDGE_SECONDS = 12.0
"""No moment is nearer to the beginning or the end, so that there is something to compare it with."""
WANDER_DB = 1.0
"""How far the background's level goes up and down from its middle, and that is what a rise is measured from: less than
signals.LEAST_RISE_DB, so that the moment alone is loud and chance has nothing to add to it, whatever the seed."""
MESSAGES_PER_SECOND = 1.5
CHEERS = 45
LAG_SECONDS = 3.0
_IDLE = (
    "nice", "what game is this", "hello from Lisbon", "what did he say", "I like this one", "the sound is fine",
    "who is that", "good evening", "is this live", "see you later", "what time is it there", "which map",
    "first time here", "ok", "hm",
)  # fmt: skip
_CHEER = (
    "WOW", "LET'S GO", "POGGERS that was amazing", "omg insane", "what a play!!", "hahaha amazing", "PogChamp",
    "incredible", "best moment ever", "I love this",
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A test video and the middles of its loud moments, in seconds."""

    path: Path
    moments_seconds: tuple[float, ...]


def make_video(path: Path, seconds: float, seed: int) -> Planted:
    """Write an mp4 (MPEG-4 Part 2 and AAC) of background sound with one loud moment."""
    random = np.random.default_rng(seed)
    moments = (_place(random, seconds),)
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


def make_chat(seconds: float, seed: int, moments: tuple[float, ...]) -> list[dict[str, object]]:
    """A chat log as a plain list: idle talk all along, and cheering a few seconds after each moment."""
    random = np.random.default_rng([seed, 1])
    lines: list[tuple[float, str, str]] = []
    at = 0.0
    while (at := at + random.exponential(1 / MESSAGES_PER_SECOND)) < seconds:
        lines.append((at, f"viewer{random.integers(60)}", _IDLE[random.integers(len(_IDLE))]))
    for moment in moments:
        for number in range(CHEERS):
            at = moment + LAG_SECONDS + random.gamma(2.0, 1.0)
            lines.append((at, f"fan{number}", _CHEER[random.integers(len(_CHEER))]))
    return [{"offset": round(at, 2), "user": user, "text": text} for at, user, text in sorted(lines) if at < seconds]


def _place(random: np.random.Generator, seconds: float) -> float:
    edge = min(EDGE_SECONDS, seconds / 4)
    return round(float(random.uniform(edge, seconds - edge)), 2)


def _sound(random: np.random.Generator, seconds: float, moments: tuple[float, ...]) -> NDArray[np.float32]:
    """Noise and hum whose level wanders slowly by WANDER_DB, and bursts of one to two seconds."""
    time = np.arange(int(seconds * RATE)) / RATE
    wander_db = WANDER_DB * np.sin(2 * np.pi * time / random.uniform(20, 60) + random.uniform(0, 6))
    base = 10 ** ((-38.0 + wander_db) / 20)
    sound = base * (0.7 * random.standard_normal(len(time)) + 0.7 * np.sin(2 * np.pi * 120 * time))
    for moment in moments:
        width = random.uniform(1.0, 2.0)
        near = np.abs(time - moment) < width / 2
        envelope = np.cos(np.pi * (time[near] - moment) / width)
        level = 10 ** (random.uniform(-14.0, -8.0) / 20)
        sound[near] += level * envelope * random.standard_normal(int(near.sum()))
    return np.clip(sound, -1.0, 1.0).astype(np.float32)
