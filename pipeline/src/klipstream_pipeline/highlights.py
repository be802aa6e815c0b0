"""Moments that stand out: chat, loudness and mood together, under one test over the whole recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from klipstream_pipeline.chat import Chat
from klipstream_pipeline.excerpts import Excerpts
from klipstream_pipeline.explanation import describe, explain, why_nothing
from klipstream_pipeline.feelings import EMOTIONS, feelings
from klipstream_pipeline.findings import ChatLag, Evidence, Findings, Highlight, Mood, Signal, Significance, Timeline
from klipstream_pipeline.lag import chat_lag
from klipstream_pipeline.loudness import Loudness
from klipstream_pipeline.signals import (
    CHAT_WINDOW_SECONDS,
    SOUND_WINDOW_SECONDS,
    SPEECH_WINDOW_SECONDS,
    ChatSeries,
    Course,
    chat_course,
    chat_mood_course,
    level_per_second,
    sound_course,
    speech_course,
    sum_up_chat,
)
from klipstream_pipeline.significance import Array, adaptive_threshold, at_least_two, moving_sum, runs
from klipstream_pipeline.transcript import Segment, Transcript

FALSE_SHARE = 0.1
"""Of the highlights of a recording that chance may bring; in one without any event, the chance that there is one."""
PLACE_SECONDS = 10
"""The recording is tested in places of this length, each with a little of its neighbours."""
TOLERANCE_SECONDS = 3
TOLERANCE_WITHOUT_LAG_SECONDS = 6
COUNTS_P = 0.05
"""A signal below this is named among the reasons of a highlight; whether it is one is decided over all of them."""
LONGEST_SIDE_SECONDS = 30
LEAST_SIDE_SECONDS = 3
SHORT_SECONDS = 60.0
_WINDOWS = {
    Signal.CHAT: CHAT_WINDOW_SECONDS, Signal.CHAT_MOOD: CHAT_WINDOW_SECONDS,
    Signal.LOUDNESS: SOUND_WINDOW_SECONDS, Signal.SPEECH: SPEECH_WINDOW_SECONDS,
}  # fmt: skip
_MOST_STRENGTH = 6.0
_EDGE = 0.35
_LEAST_MOOD = 0.08


@dataclass(frozen=True)
class _Places:
    """Every signal's p-value in every place, and what the test makes of them."""

    signals: tuple[Signal, ...]
    needed: int
    p_values: Array
    selection: Array
    threshold: float

    @property
    def significant(self) -> Sequence[int]:
        return [int(place) for place in np.flatnonzero(self.selection <= self.threshold)]


def find_highlights(
    loudness: Loudness, transcript: Transcript, chat: Chat | None, *, false_share: float = FALSE_SHARE
) -> Findings:
    """Find the moments where at least two of chat, loudness and mood stand out together.

    One signal alone, however strong, makes no highlight where there are others to ask: loud music, applause and
    raids are such. At most `false_share` of the highlights are expected to be chance, and of recordings without any
    event at most that share has one. No highlight is a valid answer, and `why_none` says why. Time and memory grow
    linearly with the recording and its chat.
    """
    seconds = len(level_per_second(loudness))
    messages = chat.messages if chat is not None else ()
    written = sum_up_chat(messages, seconds) if messages else None
    sound = sound_course(loudness)
    speech = speech_course(transcript, seconds) if transcript.segments else None
    lag = None
    heard = None
    courses = {Signal.LOUDNESS: sound}
    if written is not None:
        lag = _lag(written, sound, speech)
        heard = written.shifted(round(lag.seconds))
        tolerance = 0 if lag.estimated else TOLERANCE_WITHOUT_LAG_SECONDS - TOLERANCE_SECONDS
        courses[Signal.CHAT] = _tolerant(chat_course(heard), tolerance)
        courses[Signal.CHAT_MOOD] = _tolerant(chat_mood_course(heard), tolerance)
    if speech is not None:
        courses[Signal.SPEECH] = speech
    places = _test(courses, seconds, false_share)
    excerpts = Excerpts(messages, transcript.segments, round(lag.seconds) if lag is not None else 0)
    highlights = tuple(
        _highlight(places, courses, first, last, heard, excerpts) for first, last in runs(places.significant)
    )
    highlights = _apart(highlights)
    return Findings(
        highlights=highlights,
        why_none=None if highlights else why_nothing(places.signals, places.p_values, places.threshold),
        chat_lag=lag,
        significance=Significance(false_share, places.threshold, len(places.p_values), places.signals, places.needed),
        timeline=_timeline(loudness, written, heard, transcript, seconds),
        chat_mood=None if written is None else _whole_mood(written),
        speech_mood=_spoken_mood(transcript) if transcript.segments else None,
        notes=_notes(loudness, transcript, chat, lag),
    )


def _lag(written: ChatSeries, sound: Course, speech: Course | None) -> ChatLag:
    """From chat as it was written: its bursts and its mood against loudness and the mood of speech."""
    reaction = np.maximum(chat_course(written).score, 0.0) + np.maximum(chat_mood_course(written).score, 0.0)
    cause = np.maximum(sound.score, 0.0)
    if speech is not None:
        cause = cause + np.maximum(speech.score, 0.0)
    return chat_lag(reaction, cause)


def _tolerant(course: Course, seconds: int) -> Course:
    """Each second takes the best of its neighbours and pays for the looks; for a lag that is only a guess."""
    if seconds == 0:
        return course
    looks = 1.0 + 2.0 * seconds / CHAT_WINDOW_SECONDS
    p_value = np.minimum(1.0, looks * _lowest(course.p_value, seconds))
    return replace(course, p_value=p_value)


def _lowest(series: Array, reach: int) -> Array:
    padded = np.pad(series, reach, constant_values=1.0)
    lowest: Array = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
    return lowest


def _test(courses: Mapping[Signal, Course], seconds: int, false_share: float) -> _Places:
    signals = tuple(signal for signal in Signal if signal in courses)
    needed = min(2, len(signals))
    starts = range(0, seconds, PLACE_SECONDS)
    p_values = np.ones((len(starts), len(signals)))
    for column, signal in enumerate(signals):
        tolerance = TOLERANCE_SECONDS if signal in (Signal.CHAT, Signal.CHAT_MOOD) else 0
        looks = max(1.0, (PLACE_SECONDS + 2.0 * tolerance) / _WINDOWS[signal])
        for row, start in enumerate(starts):
            near = courses[signal].p_value[
                max(0, start - TOLERANCE_SECONDS) : start + PLACE_SECONDS + TOLERANCE_SECONDS
            ]
            p_values[row, column] = min(1.0, looks * float(near.min()))
    if needed == 1:
        return _Places(signals, needed, p_values, p_values[:, 0], false_share / len(starts))
    filtered, selection = at_least_two(p_values)
    bound = adaptive_threshold(filtered, selection, len(signals), false_share)
    return _Places(signals, needed, p_values, selection, bound)


def _highlight(
    places: _Places,
    courses: Mapping[Signal, Course],
    first: int,
    last: int,
    heard: ChatSeries | None,
    excerpts: Excerpts,
) -> Highlight:
    strength = _strength(courses)
    low = max(0, first * PLACE_SECONDS - TOLERANCE_SECONDS)
    high = min(len(strength), (last + 1) * PLACE_SECONDS + TOLERANCE_SECONDS)
    peak = low + int(strength[low:high].argmax())
    start, end = _extent(strength, peak)
    p_values = dict(zip(places.signals, places.p_values[first : last + 1].min(axis=0), strict=True))
    evidence = []
    for signal in places.signals:
        course = courses[signal]
        there = low + int(course.p_value[low:high].argmin())
        value, usual, p_value = float(course.value[there]), float(course.usual[there]), float(p_values[signal])
        counts = p_value <= COUNTS_P
        unit = "valence" if course.valence_at(there) else _UNITS[signal]
        words = describe(signal, value, usual, unit)
        evidence.append(Evidence(signal, value, usual, unit, p_value, counts, words))
    evidence.sort(key=lambda each: each.p_value)
    said, written = excerpts.said(start, end), excerpts.written(start, end)
    mood = _mood(heard, said, start, end)
    selection = float(places.selection[first : last + 1].min())
    return Highlight(
        start_seconds=float(start),
        peak_seconds=float(peak) + 0.5,
        end_seconds=float(end),
        p_value=selection,
        mood=mood,
        explanation=explain(evidence, mood, selection),
        evidence=tuple(evidence),
        messages=written,
        said=said,
    )


_UNITS = {Signal.CHAT: "messages/s", Signal.LOUDNESS: "dBFS", Signal.CHAT_MOOD: "feeling", Signal.SPEECH: "feeling"}


def _strength(courses: Mapping[Signal, Course]) -> Array:
    """How much speaks for each second: orders of magnitude of the p-values, none of them without limit."""
    strengths = [np.minimum(_MOST_STRENGTH, -np.log10(np.maximum(each.p_value, 1e-12))) for each in courses.values()]
    total: Array = moving_sum(np.sum(strengths, axis=0), 3) / 3.0
    return total


def _extent(strength: Array, peak: int) -> tuple[int, int]:
    """From where to where it holds, with gaps of a second or two."""
    edge = _EDGE * strength[peak]
    bounds = []
    for step in (-1, 1):
        place, weak, last = peak, 0, peak
        while 0 <= place + step < len(strength) and abs(place - peak) < LONGEST_SIDE_SECONDS and weak < 3:
            place += step
            weak = weak + 1 if strength[place] < edge else 0
            last = last if weak else place
        bounds.append(last)
    start = max(0, min(bounds[0], peak - LEAST_SIDE_SECONDS))
    return start, min(len(strength), max(bounds[1] + 1, peak + LEAST_SIDE_SECONDS))


def _mood(heard: ChatSeries | None, said: Sequence[Segment], start: int, end: int) -> str:
    """The emotion that prevails, where there is enough of one."""
    shares = np.zeros(len(EMOTIONS))
    count = 0.0
    if heard is not None:
        shares += heard.emotions[:, start:end].sum(axis=1)
        count += float(heard.count[start:end].sum())
    if said:
        shares += feelings([each.text for each in said])[:, 2:].sum(axis=0)
        count += len(said)
    best = int(shares.argmax())
    return EMOTIONS[best] if count and shares[best] / count >= _LEAST_MOOD else ""


def _whole_mood(chat: ChatSeries) -> Mood:
    count = max(1e-9, float(chat.count.sum()))
    emotions = tuple(float(share) for share in chat.emotions.sum(axis=1) / count)
    return Mood(float(chat.valence.sum()) / count, float(chat.intensity.sum()) / count, emotions)


def _spoken_mood(transcript: Transcript) -> Mood:
    valence, intensity, *emotions = feelings([each.text for each in transcript.segments]).mean(axis=0)
    return Mood(float(valence), float(intensity), tuple(float(share) for share in emotions))


def _apart(highlights: Sequence[Highlight]) -> tuple[Highlight, ...]:
    """Of highlights that overlap the more certain one stays."""
    kept: list[Highlight] = []
    for highlight in highlights:
        if kept and highlight.start_seconds < kept[-1].end_seconds:
            if highlight.p_value < kept[-1].p_value:
                kept[-1] = highlight
        else:
            kept.append(highlight)
    return tuple(kept)


def _timeline(
    loudness: Loudness, written: ChatSeries | None, heard: ChatSeries | None, transcript: Transcript, seconds: int
) -> Timeline:
    nothing = np.full(seconds, np.nan)
    count, valence, intensity = np.zeros(seconds), np.zeros(seconds), np.zeros(seconds)
    if heard is not None:
        count += heard.count
        valence += heard.valence
        intensity += heard.intensity
    for segment, felt in zip(transcript.segments, feelings([each.text for each in transcript.segments]), strict=True):
        place = min(seconds - 1, max(0, int((segment.start_seconds + segment.end_seconds) / 2)))
        count[place] += 1.0
        valence[place] += felt[0]
        intensity[place] += felt[1]
    width = 2 * CHAT_WINDOW_SECONDS
    in_window = moving_sum(count, width)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_valence = np.where(in_window > 0, moving_sum(valence, width) / in_window, np.nan)
        mean_intensity = np.where(in_window > 0, moving_sum(intensity, width) / in_window, np.nan)
    rate = nothing if written is None else moving_sum(written.count, 5) / 5.0
    return Timeline(level_per_second(loudness), rate, mean_valence, mean_intensity)


def _notes(loudness: Loudness, transcript: Transcript, chat: Chat | None, lag: ChatLag | None) -> tuple[str, ...]:
    notes = []
    if chat is None or not chat.messages:
        notes.append(
            "There is no chat, so only the sound was searched: loud music or applause cannot be told from an event."
        )
    elif lag is not None and not lag.estimated:
        notes.append(
            f"By how much chat lags behind the picture is not clear from this recording; {lag.seconds:g} s were taken."
        )
    if chat is not None and chat.dropped:
        notes.append(f"Chat messages from outside of the video were left out: {chat.dropped}.")
    if not transcript.segments:
        notes.append("Nothing was transcribed, so the mood is that of the chat alone.")
    elif transcript.low_confidence:
        notes.append("The transcript is of low confidence: read its words as a hint.")
    if loudness.duration_seconds < SHORT_SECONDS:
        notes.append("The recording is short, so there is little to compare a moment with.")
    return tuple(notes)
