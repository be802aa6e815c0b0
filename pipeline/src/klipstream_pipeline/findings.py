"""What the search for highlights hands on: highlights with their reasons, and what the search itself was like."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from klipstream_pipeline.chat import ChatMessage
from klipstream_pipeline.transcript import Segment


class Signal(StrEnum):
    """What speaks for a moment."""

    CHAT = "chat"
    LOUDNESS = "loudness"
    CHAT_MOOD = "chat-mood"
    SPEECH = "speech"


@dataclass(frozen=True)
class Evidence:
    """How strongly one signal speaks for a highlight."""

    signal: Signal
    value: float
    usual: float
    unit: str
    """Of `value` and `usual`: messages/s, dBFS, feeling (0 to 1: how much), or valence (-1 bad to 1 good)."""
    p_value: float
    """How often chance alone brings as much at one place of this recording."""
    counts: bool
    """Below the recording's threshold, so that the highlight rests on it."""
    words: str


@dataclass(frozen=True)
class Highlight:
    """A moment that stands out; seconds from the start of the video."""

    start_seconds: float
    peak_seconds: float
    end_seconds: float
    p_value: float
    """Of "at most one signal stands out here", one place; compare it with `Significance.threshold`."""
    mood: str
    """The emotion that prevails in it, or an empty string."""
    explanation: str
    evidence: tuple[Evidence, ...]
    messages: tuple[ChatMessage, ...]
    """A few examples, at the time when they were written."""
    said: tuple[Segment, ...]


@dataclass(frozen=True)
class ChatLag:
    """By how many seconds chat follows the picture."""

    seconds: float
    estimated: bool
    """False: there was no clear answer, and `seconds` is the default."""
    p_value: float
    """How often an unrelated chat would follow this clearly."""


@dataclass(frozen=True)
class Significance:
    """The one test of the whole recording."""

    false_share: float
    """Of the highlights that chance may bring; in a recording without any event, the chance that there is one."""
    threshold: float
    """Of a highlight's p-value."""
    places: int
    signals: tuple[Signal, ...]
    needed: int
    """Signals that have to stand out at the same moment."""


@dataclass(frozen=True)
class Mood:
    """What a whole chat or transcript feels like; means over its messages or segments."""

    valence: float
    """-1 to 1."""
    intensity: float
    """0 to 1."""
    emotions: tuple[float, ...]
    """A share from 0 to 1 for each of EMOTIONS."""


@dataclass(frozen=True)
class Timeline:
    """The signals second by second, for plots; NaN where there is nothing to measure."""

    loudness_dbfs: NDArray[np.float64]
    chat_per_second: NDArray[np.float64]
    """As written, not corrected for the lag; bots and repetitions damped."""
    valence: NDArray[np.float64]
    """-1 to 1, smoothed; chat (corrected for its lag) and speech together."""
    intensity: NDArray[np.float64]
    """0 to 1: how much feeling there is, good or bad."""


@dataclass(frozen=True)
class Findings:
    """Highlights in the order of time, or why there are none."""

    highlights: tuple[Highlight, ...]
    why_none: str | None
    chat_lag: ChatLag | None
    significance: Significance
    timeline: Timeline
    chat_mood: Mood | None
    speech_mood: Mood | None
    notes: tuple[str, ...]
    """What a reader should know about these findings: missing chat, a weak transcript, a short recording."""
