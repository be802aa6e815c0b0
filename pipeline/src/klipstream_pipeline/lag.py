"""By how many seconds chat follows the picture: viewers see late, react, and type."""

import math

import numpy as np

from klipstream_pipeline.findings import ChatLag
from klipstream_pipeline.significance import Array

DEFAULT_SECONDS = 6.0
"""Where there is no clear answer: the middle of what is usual between a player's delay and a typed reaction."""
LONGEST_SECONDS = 25
UNRELATED_SECONDS = 40
"""From this shift on, chat and sound have nothing to do with each other."""
FARTHEST_SECONDS = 1200
CERTAIN_P = 0.05
LEAST_BLOCKS = 3
_EULER = 0.5772
_HIGHEST_SCORE = 5.0
_LOWEST_SCORE = 1.0


def chat_lag(chat: Array, sound: Array) -> ChatLag:
    """Where chat's scores follow the sound's best, from 0 to 25 s.

    The best fit is compared with the best fits among equally many shifts that are too long to mean anything (their
    maxima follow a Gumbel distribution); unless chance would reach it in less than one of twenty recordings, the
    default is returned and said to be one. Scores are cut off on both sides, so that neither a raid nor the ordinary
    up and down decides.
    """
    chat, sound = _peaks(chat), _peaks(sound)
    shifts = LONGEST_SECONDS + 1
    farthest = min(FARTHEST_SECONDS, len(chat) // 2)
    blocks = range(UNRELATED_SECONDS, farthest - shifts, shifts // 2)
    if len(blocks) < LEAST_BLOCKS or not chat.any() or not sound.any():
        return ChatLag(DEFAULT_SECONDS, estimated=False, p_value=1.0)
    every = _fits(chat, sound)
    fits = every[:shifts]
    unrelated = [
        every[[sign * (block + shift) for shift in range(shifts)]].max() for block in blocks for sign in (1, -1)
    ]
    scale = max(1e-9, float(np.std(unrelated)) * math.sqrt(6.0) / math.pi)
    middle = float(np.mean(unrelated)) - _EULER * scale
    p_value = -math.expm1(-math.exp(-min(700.0, max(-700.0, (float(fits.max()) - middle) / scale))))
    if p_value > CERTAIN_P:
        return ChatLag(DEFAULT_SECONDS, estimated=False, p_value=p_value)
    return ChatLag(float(fits.argmax()), estimated=True, p_value=p_value)


def _peaks(score: Array) -> Array:
    peaks: Array = np.clip(score - _LOWEST_SCORE, 0.0, _HIGHEST_SCORE - _LOWEST_SCORE)
    return peaks


def _fits(chat: Array, sound: Array) -> Array:
    """For each shift the sum of products with chat that much earlier, the recording closed to a ring; by FFT."""
    spectrum = np.fft.rfft(chat) * np.conj(np.fft.rfft(sound))
    fits: Array = np.fft.irfft(spectrum, len(chat))
    return fits
