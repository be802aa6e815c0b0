"""Three signals, second by second, each measured against what is usual around it in the same recording."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from klipstream_pipeline.chat import ChatMessage
from klipstream_pipeline.damping import weights
from klipstream_pipeline.feelings import EMOTIONS, feelings
from klipstream_pipeline.loudness import Loudness
from klipstream_pipeline.significance import (
    Array,
    dispersion,
    empirical_null,
    gamma_score,
    moving_sum,
    surroundings,
    tail,
)
from klipstream_pipeline.transcript import Transcript

CHAT_WINDOW_SECONDS = 8
"""A reaction is spread over this long."""
SOUND_WINDOW_SECONDS = 3
NEAR_SECONDS = 12
"""Left out of the surroundings, on either side."""
AROUND_SECONDS = 90
LEAST_AROUND = 15
NEWCOMER_SECONDS = 60.0
"""For this long after the first message somebody is new."""
NEWCOMERS_ALLOWED = 2.0
"""Times the usual share of newcomers; what is beyond is a raid, not a reaction."""
LEAST_RISE_DB = 1.5
LEAST_MESSAGES = 4.0
LEAST_FACTOR = 1.5
SILENCE_DBFS = -60.0


@dataclass(frozen=True)
class Course:
    """One signal over the seconds of a recording."""

    score: Array
    """Deviations above the usual, by the recording's own spread."""
    p_value: Array
    value: Array
    usual: Array


@dataclass(frozen=True)
class ChatSeries:
    """A chat log summed up per second, as written (not corrected for the lag)."""

    settled: Array
    """Weighted messages of people who have been there for a while."""
    newcomers: Array
    valence: Array
    """Weighted sums over all messages, as intensity and square sums."""
    intensity: Array
    valence_squares: Array
    intensity_squares: Array
    emotions: Array
    """(EMOTIONS, seconds)"""

    def shifted(self, seconds: int) -> "ChatSeries":
        """As it would be if chat did not lag: each value `seconds` earlier."""

        def shift(series: Array) -> Array:
            moved = np.zeros_like(series)
            moved[..., : series.shape[-1] - seconds] = series[..., seconds:]
            return moved

        if seconds <= 0 or seconds >= len(self.settled):
            return self
        return ChatSeries(*(shift(getattr(self, name)) for name in self.__dataclass_fields__))


def sum_up_chat(messages: Sequence[ChatMessage], seconds: int) -> ChatSeries:
    """Sum a chat log up; memory grows with messages and seconds, not with their product."""
    counted = weights(messages)
    place = np.array([min(seconds - 1, int(message.offset_seconds)) for message in messages], dtype=np.intp)
    felt = feelings([message.text for message in messages])
    first: dict[str, float] = {}
    new = np.zeros(len(messages), dtype=bool)
    for number, message in enumerate(messages):
        came = first.setdefault(message.user.lower(), message.offset_seconds) if message.user else 0.0
        new[number] = message.offset_seconds - came < NEWCOMER_SECONDS if message.user else False

    def per_second(values: Array) -> Array:
        return np.bincount(place, weights=values, minlength=seconds).astype(np.float64)

    valence, intensity = felt[:, 0], felt[:, 1]
    return ChatSeries(
        settled=per_second(counted * ~new),
        newcomers=per_second(counted * new),
        valence=per_second(counted * valence),
        intensity=per_second(counted * intensity),
        valence_squares=per_second(counted * valence**2),
        intensity_squares=per_second(counted * intensity**2),
        emotions=np.stack([per_second(counted * felt[:, 2 + number]) for number in range(len(EMOTIONS))]),
    )


def chat_course(chat: ChatSeries) -> Course:
    """Messages per window against a negative binomial of the local rate and the recording's own dispersion.

    Newcomers count in the proportion that is usual at that time, twice at most, so that a raid is not taken for
    people who react.
    """
    window = CHAT_WINDOW_SECONDS
    settled, newcomers = moving_sum(chat.settled, window), moving_sum(chat.newcomers, window)
    wide = 2 * AROUND_SECONDS + 1
    near = 2 * NEAR_SECONDS + 1
    others_new = moving_sum(chat.newcomers, wide) - moving_sum(chat.newcomers, near)
    others_settled = moving_sum(chat.settled, wide) - moving_sum(chat.settled, near)
    odds = (others_new + 1.0) / (others_settled + 1.0)
    count = settled + np.minimum(newcomers, NEWCOMERS_ALLOWED * odds * (settled + 1.0))
    usual = surroundings(count, AROUND_SECONDS, NEAR_SECONDS, LEAST_AROUND) + 0.3
    score = empirical_null(gamma_score(count, usual, dispersion(count, usual)), least_scale=1.0)
    strong = (count >= LEAST_MESSAGES) & (count >= LEAST_FACTOR * usual)
    return Course(score, np.where(strong, tail(score), 1.0), count / window, usual / window)


def sound_course(loudness: Loudness) -> Course:
    """Level over three seconds against the louder of before, after, and what the recording's sound is usually like."""
    level = level_per_second(loudness)
    smooth = 10.0 * np.log10(np.maximum(_smooth(10.0 ** (level / 10.0), SOUND_WINDOW_SECONDS), 1e-10))
    audible = smooth[smooth > SILENCE_DBFS]
    typical = float(np.median(audible)) if len(audible) else SILENCE_DBFS
    usual = np.maximum(surroundings(smooth, AROUND_SECONDS, NEAR_SECONDS, LEAST_AROUND), typical)
    rise = smooth - usual
    # Silence is no part of the spread of the sound.
    score = empirical_null(np.where(smooth > SILENCE_DBFS, rise, np.nan), least_scale=1.0)
    return Course(score, np.where(rise >= LEAST_RISE_DB, tail(score), 1.0), smooth, usual)


def chat_mood_course(chat: ChatSeries) -> Course:
    """How much feeling the messages show, and whether it turns: means per message, so that their number is no matter."""
    count = chat.settled + chat.newcomers
    return _mood(count, chat.valence, chat.intensity, chat.valence_squares, chat.intensity_squares)


def speech_mood_course(transcript: Transcript, seconds: int) -> Course:
    """The same of what is said; a segment counts by its length, in parts over its seconds."""
    count, sums = np.zeros(seconds), np.zeros((4, seconds))
    felt = feelings([segment.text for segment in transcript.segments])
    for segment, (valence, intensity, *_) in zip(transcript.segments, felt, strict=True):
        first = min(seconds - 1, max(0, int(segment.start_seconds)))
        last = min(seconds, max(first + 1, int(np.ceil(segment.end_seconds))))
        share = 1.0 / CHAT_WINDOW_SECONDS
        count[first:last] += share
        values = np.array([valence, intensity, valence**2, intensity**2])
        sums[:, first:last] += share * values[:, None]
    return _mood(count, *sums)


def _mood(count: Array, valence: Array, intensity: Array, valence_squares: Array, intensity_squares: Array) -> Course:
    window = CHAT_WINDOW_SECONDS
    in_window = moving_sum(count, window)
    intensity_score, mean, usual = _swing(count, in_window, intensity, intensity_squares)
    valence_score, _, _ = _swing(count, in_window, valence, valence_squares)
    # Two looks, so twice the smaller; the turn of the valence may go either way.
    p_value = np.minimum(1.0, 2.0 * np.minimum(tail(intensity_score), 2.0 * tail(np.abs(valence_score))))
    score = np.maximum(intensity_score, np.abs(valence_score))
    return Course(score, np.where(in_window > 0, p_value, 1.0), mean, usual)


def _swing(count: Array, in_window: Array, sums: Array, squares: Array) -> tuple[Array, Array, Array]:
    """(score, mean, usual mean): a window's mean against that of its surroundings, in standard errors."""
    total = max(float(count.sum()), 1e-9)
    overall = float(sums.sum()) / total
    variance = max(1e-4, float(squares.sum()) / total - overall**2)
    wide, near = 2 * AROUND_SECONDS + 1, 2 * NEAR_SECONDS + 1
    around_count = moving_sum(count, wide) - moving_sum(count, near)
    around_sums = moving_sum(sums, wide) - moving_sum(sums, near)
    usual = (around_sums + 4.0 * overall) / (around_count + 4.0)
    window_sums = moving_sum(sums, CHAT_WINDOW_SECONDS)
    # One message at the usual level is added, so that a single one says little.
    mean = (window_sums + usual) / (in_window + 1.0)
    error = np.sqrt(variance * (1.0 / (in_window + 1.0) + 1.0 / (around_count + 4.0)))
    return empirical_null(np.where(in_window > 0, (mean - usual) / error, np.nan), least_scale=1.0), mean, usual


def level_per_second(loudness: Loudness) -> Array:
    """Mean power of each second in dBFS; the last, incomplete one by what there is of it."""
    each = max(1, round(1.0 / loudness.window_seconds))
    power = 10.0 ** (loudness.dbfs / 10.0)
    seconds = -(-len(power) // each)
    padded = np.pad(power, (0, seconds * each - len(power)), mode="edge")
    level: Array = 10.0 * np.log10(padded.reshape(seconds, each).mean(axis=1))
    return level


def _smooth(series: Array, width: int) -> Array:
    smoothed: Array = moving_sum(series, width) / np.maximum(1.0, moving_sum(np.ones(len(series)), width))
    return smoothed
