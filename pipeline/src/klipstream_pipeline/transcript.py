"""What was said and when: the border between the transcription and everything that reads it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """A stretch of speech between two silences."""

    start_seconds: float
    end_seconds: float
    text: str
    confidence: float
    """0 (a guess) to 1 (certain), by the engine's own measure; not comparable between engines."""


@dataclass(frozen=True)
class Transcript:
    """All segments of a recording in the order of time."""

    engine: str
    """whisper, pocketsphinx or none."""
    language: str
    """ISO 639-1; empty where nothing was transcribed."""
    low_confidence: bool
    """The engine's words are wrong too often to be read as a text; they still serve as a hint."""
    segments: tuple[Segment, ...]
    reason: str = ""
    """Why this engine, or none: announced, since a reader would not expect the fallback."""
