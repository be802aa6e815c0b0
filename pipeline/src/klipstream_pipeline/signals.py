"""Three signals, second by second, each measured against what is usual around it in the same recording."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
SOUND_WINDOW_SECONDS = 5
SPEECH_WINDOW_SECONDS = 10
NEAR_SECONDS = 12
"""Left out of the surroundings, on either side."""
AROUND_SECONDS = 90
LEAST_AROUND = 15
NEWCOMER_SECONDS = 60.0
"""For this long after the first message somebody is new."""
WARM_UP_SECONDS = 90.0
"""Before this everybody writes for the first time, and nobody is called new."""
NEWCOMERS_ALLOWED = 1.25
"""Times the usual share of newcomers; what is beyond is a raid, not a reaction."""
LEAST_RISE_DB = 1.5
GATE_DB = 10.0
LEAST_SOUND_SECONDS = 1.5
LEAST_MESSAGES = 4.0
LEAST_FACTOR = 1.5
LEAST_WORDS = 4
SILENCE_DBFS = -60.0
Swing = tuple[Array, Array, Array]
"""Score, value and usual value of a mean."""


@dataclass(frozen=True)
class Course:
    """One signal over the seconds of a recording."""

    score: Array
    """Deviations above the usual, by the recording's own spread."""
    p_value: Array
    value: Array
    usual: Array
    turns: NDArray[np.bool_] | None = None
    """Of moods: where it is the turn to good or bad that stands out, and value and usual are valences."""

    def valence_at(self, second: int) -> bool:
        """Whether value and usual are a valence there."""
        return self.turns is not None and bool(self.turns[second])


@dataclass(frozen=True)
class ChatSeries:
    """A chat log summed up per second, as written (not corrected for the lag): messages, and sums over them."""

    count: Array
    valence: Array
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

        if seconds <= 0 or seconds >= len(self.count):
            return self
        return ChatSeries(*(shift(getattr(self, name)) for name in self.__dataclass_fields__))


def sum_up_chat(messages: Sequence[ChatMessage], seconds: int) -> ChatSeries:
    """Sum a chat log up, bots and repetitions damped, newcomers in the proportion that is usual at that time.

    Memory grows with messages and seconds, not with their product.
    """
    place = np.array([min(seconds - 1, int(message.offset_seconds)) for message in messages], dtype=np.intp)
    counted = weights(messages)
    new = _newcomers(messages)
    counted[new] *= _newcomers_allowed(counted, new, place, seconds)[place[new]]
    felt = feelings([message.text for message in messages])

    def per_second(values: Array) -> Array:
        return np.bincount(place, weights=counted * values, minlength=seconds).astype(np.float64)

    valence, intensity = felt[:, 0], felt[:, 1]
    return ChatSeries(
        count=per_second(np.ones(len(messages))),
        valence=per_second(valence),
        intensity=per_second(intensity),
        valence_squares=per_second(valence**2),
        intensity_squares=per_second(intensity**2),
        emotions=np.stack([per_second(felt[:, 2 + number]) for number in range(len(EMOTIONS))]),
    )


def _newcomers(messages: Sequence[ChatMessage]) -> NDArray[np.bool_]:
    """Who has written for the first time less than a minute ago."""
    first: dict[str, float] = {}
    new = np.zeros(len(messages), dtype=bool)
    for number, message in enumerate(messages):
        if message.user:
            came = first.setdefault(message.user.lower(), message.offset_seconds)
            new[number] = message.offset_seconds - came < NEWCOMER_SECONDS < WARM_UP_SECONDS < message.offset_seconds
    return new


def _newcomers_allowed(counted: Array, new: NDArray[np.bool_], place: NDArray[np.intp], seconds: int) -> Array:
    """The share of the newcomers' messages that counts, second by second: a raid is not people who react.

    As many as there usually are to those who have been there, times NEWCOMERS_ALLOWED.
    """

    def windows(width: int) -> tuple[Array, Array]:
        settled = np.bincount(place, weights=counted * ~new, minlength=seconds).astype(np.float64)
        newcomers = np.bincount(place, weights=counted * new, minlength=seconds).astype(np.float64)
        return moving_sum(settled, width), moving_sum(newcomers, width)

    settled, newcomers = windows(CHAT_WINDOW_SECONDS)
    settled_wide, newcomers_wide = windows(2 * AROUND_SECONDS + 1)
    settled_near, newcomers_near = windows(2 * NEAR_SECONDS + 1)
    odds = (newcomers_wide - newcomers_near + 1.0) / (settled_wide - settled_near + 1.0)
    allowed: Array = np.minimum(1.0, NEWCOMERS_ALLOWED * odds * (settled + 1.0) / np.maximum(newcomers, 1e-9))
    return allowed


def chat_course(chat: ChatSeries) -> Course:
    """Messages per window against a negative binomial of the local rate and the recording's own dispersion."""
    count = moving_sum(chat.count, CHAT_WINDOW_SECONDS)
    usual = surroundings(count, AROUND_SECONDS, NEAR_SECONDS, LEAST_AROUND) + 0.3
    score = empirical_null(gamma_score(count, usual, dispersion(count, usual)), least_scale=1.0)
    strong = (count >= LEAST_MESSAGES) & (count >= LEAST_FACTOR * usual)
    return Course(score, np.where(strong, tail(score), 1.0), count / CHAT_WINDOW_SECONDS, usual / CHAT_WINDOW_SECONDS)


def sound_course(loudness: Loudness) -> Course:
    """Level over five seconds against the louder of before, after, and what the recording's sound is usually like.

    The level is gated as in ITU-R BS.1770: pauses (10 dB under what is typical) are left out, so that slow speech
    is no quieter than fast speech. Where there are only pauses there is no level.
    """
    audible = loudness.dbfs[loudness.dbfs > SILENCE_DBFS]
    typical = float(np.median(audible)) if len(audible) else SILENCE_DBFS
    loud = loudness.dbfs > typical - GATE_DB
    seconds = len(level_per_second(loudness))
    sounding = _sums_per_second(loudness, loud.astype(np.float64), seconds)
    power = _sums_per_second(loudness, np.where(loud, 10.0 ** (loudness.dbfs / 10.0), 0.0), seconds)
    in_window = moving_sum(sounding, SOUND_WINDOW_SECONDS)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = 10.0 * np.log10(moving_sum(power, SOUND_WINDOW_SECONDS) / in_window)
    level = np.where(in_window * loudness.window_seconds >= LEAST_SOUND_SECONDS, level, np.nan)
    usual = surroundings(level, AROUND_SECONDS, NEAR_SECONDS, LEAST_AROUND)
    usual = np.maximum(usual, float(np.nanmedian(level)) if np.isfinite(level).any() else SILENCE_DBFS)
    rise = level - usual
    score = empirical_null(rise, least_scale=1.0)
    p_value = np.where(np.nan_to_num(rise) >= LEAST_RISE_DB, tail(score), 1.0)
    return Course(score, p_value, np.where(np.isfinite(level), level, SILENCE_DBFS), usual)


def chat_mood_course(chat: ChatSeries) -> Course:
    """How much feeling the messages show, and whether it turns: means per message; their number is no matter."""
    window = CHAT_WINDOW_SECONDS
    intensity = _swing(chat.count, chat.intensity, chat.intensity_squares, window, damping=1.0)
    valence = _swing(chat.count, chat.valence, chat.valence_squares, window, damping=1.0)
    return _mood(intensity[0], intensity, valence, moving_sum(chat.count, window) > 0)


def speech_course(transcript: Transcript, seconds: int) -> Course:
    """How much feeling the words show, whether it turns, and how fast they come; a segment counts once."""
    felt = feelings([segment.text for segment in transcript.segments])[:, :2]
    values = np.column_stack([felt, _paces(transcript)])
    count, sums, squares = np.zeros(seconds), np.zeros((3, seconds)), np.zeros((3, seconds))
    for segment, each in zip(transcript.segments, values, strict=True):
        first = min(seconds - 1, max(0, int(segment.start_seconds)))
        last = min(seconds, max(first + 1, int(np.ceil(segment.end_seconds))))
        share = 1.0 / (last - first)
        count[first:last] += share
        sums[:, first:last] += share * each[:, None]
        squares[:, first:last] += share * each[:, None] ** 2
    window = SPEECH_WINDOW_SECONDS
    valence, intensity, pace = (
        _swing(count, one, square, window, damping=0.5) for one, square in zip(sums, squares, strict=True)
    )
    # Who is excited speaks faster and uses other words, so these two are one look; the turn of the valence another.
    lively = empirical_null((intensity[0] + pace[0]) / np.sqrt(2.0), least_scale=1.0)
    return _mood(lively, intensity, valence, moving_sum(count, window) > 0)


def _mood(lively: Array, intensity: Swing, valence: Swing, there: NDArray[np.bool_]) -> Course:
    """Two looks, so twice the smaller p-value: more feeling, or a turn of the valence, which may go either way.

    The turn has to lead away from neutral or past it: many who ask the same thing are no change of mood.
    """
    away = (np.abs(valence[1]) >= np.abs(valence[2])) | (valence[1] * valence[2] < 0.0)
    more, turn = tail(lively), np.where(away, 2.0 * tail(np.abs(valence[0])), 1.0)
    turns = turn < more
    p_value = np.where(there, np.minimum(1.0, 2.0 * np.minimum(more, turn)), 1.0)
    score = np.maximum(lively, np.abs(valence[0]))
    value, usual = np.where(turns, valence[1], intensity[1]), np.where(turns, valence[2], intensity[2])
    return Course(score, p_value, value, usual, turns)


def _paces(transcript: Transcript) -> Array:
    """Words a second of each segment over what is usual; 1 for segments too short to tell."""
    words = np.array([len(segment.text.split()) for segment in transcript.segments], dtype=np.float64)
    lengths = np.array([segment.end_seconds - segment.start_seconds for segment in transcript.segments])
    telling = (words >= LEAST_WORDS) & (lengths > 0.5)
    if not telling.any():
        return np.ones(len(words))
    pace = np.where(telling, words / np.maximum(lengths, 0.5), np.nan)
    relative: Array = np.clip(np.nan_to_num(pace / np.nanmedian(pace), nan=1.0), 0.0, 3.0)
    return relative


def _swing(count: Array, sums: Array, squares: Array, window: int, damping: float) -> Swing:
    """(score, mean, usual mean): a window's mean against that of its surroundings, in standard errors.

    `damping` messages at the usual level are added to each window, so that a single one says little.
    """
    in_window = moving_sum(count, window)
    total = max(float(count.sum()), 1e-9)
    overall = float(sums.sum()) / total
    variance = max(1e-4, float(squares.sum()) / total - overall**2)
    wide, near = 2 * AROUND_SECONDS + 1, 2 * NEAR_SECONDS + 1
    around_count = moving_sum(count, wide) - moving_sum(count, near)
    around_sums = moving_sum(sums, wide) - moving_sum(sums, near)
    usual = (around_sums + 4.0 * overall) / (around_count + 4.0)
    mean = (moving_sum(sums, window) + damping * usual) / (in_window + damping)
    error = np.sqrt(variance * (1.0 / (in_window + damping) + 1.0 / (around_count + 4.0)))
    return empirical_null(np.where(in_window > 0, (mean - usual) / error, np.nan), least_scale=1.0), mean, usual


def level_per_second(loudness: Loudness) -> Array:
    """Mean power of each second in dBFS; the last, incomplete one by what there is of it."""
    each = max(1, round(1.0 / loudness.window_seconds))
    power = 10.0 ** (loudness.dbfs / 10.0)
    seconds = -(-len(power) // each)
    padded = np.pad(power, (0, seconds * each - len(power)), mode="edge")
    level: Array = 10.0 * np.log10(padded.reshape(seconds, each).mean(axis=1))
    return level


def _sums_per_second(loudness: Loudness, values: Array, seconds: int) -> Array:
    place = np.minimum(seconds - 1, (np.arange(len(values)) * loudness.window_seconds).astype(np.intp))
    return np.bincount(place, weights=values, minlength=seconds).astype(np.float64)
