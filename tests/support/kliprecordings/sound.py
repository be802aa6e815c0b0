"""Sounds that are not speech, each of RMS 1 at 16 kHz."""

import numpy as np
from numpy.typing import NDArray

from kliprecordings.speech import RATE

Sound = NDArray[np.float32]


def level(dbfs: float) -> np.float32:
    """Factor for a sound of RMS 1."""
    return np.float32(10.0 ** (dbfs / 20.0))


def noise(random: np.random.Generator, seconds: float) -> Sound:
    """A room, or a fan."""
    return random.standard_normal(int(seconds * RATE), dtype=np.float32)


def music(random: np.random.Generator, seconds: float) -> Sound:
    """Chords over a beat, at full level from the first note on."""
    beat = 60.0 / random.uniform(80, 150)
    time = np.arange(int(seconds * RATE), dtype=np.float32) / RATE
    sound = np.zeros(len(time), np.float32)
    root = random.uniform(110, 220)
    chord_length = int(4 * beat * RATE)
    for start in range(0, len(time), chord_length):
        here = slice(start, min(len(time), start + chord_length))
        pitch = root * 2.0 ** (random.choice([0, 3, 5, 7, 8]) / 12.0)
        for ratio in (1.0, 1.26, 1.5):
            for harmonic, loud in ((1, 1.0), (2, 0.4), (3, 0.2)):
                sound[here] += loud * np.sin(2 * np.pi * pitch * ratio * harmonic * time[here])
    drum = np.exp(-((time % beat) / np.float32(0.06)))
    sound += 2.0 * drum * random.standard_normal(len(time), dtype=np.float32)
    return _even(sound)


def cheer(random: np.random.Generator, seconds: float) -> Sound:
    """A crowd: noise in the range of voices that swells and falls."""
    sound = _band(noise(random, seconds), 300, 3000)
    time = np.arange(len(sound)) / RATE
    swell = np.minimum(1.0, time / 0.7) * np.minimum(1.0, (time[-1] - time) / 1.5 + 0.05)
    return _even((sound * swell * (1.0 + 0.3 * np.sin(2 * np.pi * random.uniform(2, 5) * time))).astype(np.float32))


def applause(random: np.random.Generator, seconds: float) -> Sound:
    """Many hands: short clicks, thousands of them, slowly dying away."""
    length = int(seconds * RATE)
    claps = np.zeros(length, np.float32)
    places = (length * random.beta(1.2, 2.0, int(seconds * 120))).astype(int)
    np.add.at(claps, places, random.uniform(0.3, 1.0, len(places)).astype(np.float32))
    click = random.standard_normal(160, dtype=np.float32) * np.exp(-np.arange(160, dtype=np.float32) / 40)
    return _even(np.convolve(claps, click, mode="same").astype(np.float32))


def _band(sound: Sound, low: float, high: float) -> Sound:
    spectrum = np.fft.rfft(sound)
    pitch = np.fft.rfftfreq(len(sound), 1.0 / RATE)
    spectrum[(pitch < low) | (pitch > high)] = 0
    return np.fft.irfft(spectrum, len(sound)).astype(np.float32)


def _even(sound: Sound) -> Sound:
    return sound / np.float32(np.sqrt(np.mean(np.square(sound))) + 1e-9)
