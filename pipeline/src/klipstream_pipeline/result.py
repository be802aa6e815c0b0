"""The content of result.json; `result.schema.json` beside this file says what each field is and in which unit."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from typing import Protocol

import numpy as np

from klipstream_pipeline.chat import Chat, ChatMessage
from klipstream_pipeline.feelings import EMOTIONS
from klipstream_pipeline.findings import Findings, Highlight, Mood, Timeline
from klipstream_pipeline.loudness import Loudness
from klipstream_pipeline.significance import Array
from klipstream_pipeline.transcript import Transcript
from klipstream_pipeline.watch_link import watch_link

RESULT_VERSION = 2
MOST_POINTS = 1440
"""Of a timeline: half a minute each in a recording of twelve hours, a second in one of twenty minutes."""
_LOUD_PERCENTILE = 95
_SOFTWARE = ("av", "numpy", "nltk-vader-sentiment")


class Heard(Protocol):
    """What is known of a video once it has been heard."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def loudness(self) -> Loudness: ...
    @property
    def transcript(self) -> Transcript: ...
    @property
    def skipped_packets(self) -> int: ...


def make_result(
    *, job_id: str, attempt: int, recording: Heard, chat: Chat | None, findings: Findings, video_url: str = ""
) -> dict[str, object]:
    """Everything that is known, as JSON types. Nothing in it depends on when, or in how many goes, it was found.

    `video_url` serves for links to the moments of YouTube and Twitch videos and of plain files; it is not kept
    itself, since it may hold a secret.
    """
    loudness = recording.loudness
    return {
        "version": RESULT_VERSION,
        "job_id": job_id,
        "attempt": attempt,
        "video": {
            "size_bytes": recording.size_bytes,
            "sha256": recording.sha256,
            "duration_seconds": round(loudness.duration_seconds, 2),
            "skipped_packets": recording.skipped_packets,
        },
        "loudness": {
            "window_seconds": loudness.window_seconds,
            "median_dbfs": round(float(np.median(loudness.dbfs)), 1),
            "p95_dbfs": round(float(np.percentile(loudness.dbfs, _LOUD_PERCENTILE)), 1),
            "maximum_dbfs": round(float(loudness.dbfs.max()), 1),
        },
        "transcript": asdict(recording.transcript),
        "chat": _chat(chat, findings),
        "moods": {"chat": _mood(findings.chat_mood), "speech": _mood(findings.speech_mood)},
        "highlights": [_highlight(highlight, video_url) for highlight in findings.highlights],
        "why_none": findings.why_none,
        "significance": {
            "false_share": findings.significance.false_share,
            "threshold": _significant(findings.significance.threshold),
            "places": findings.significance.places,
            "signals": [str(signal) for signal in findings.significance.signals],
            "needed": findings.significance.needed,
        },
        "notes": list(findings.notes),
        "timeline": _timeline(findings.timeline),
        "software": {name: version(name) for name in _SOFTWARE},
    }


def _chat(chat: Chat | None, findings: Findings) -> dict[str, object] | None:
    if chat is None:
        return None
    lag = findings.chat_lag
    return {
        "messages": len(chat.messages),
        "dropped": chat.dropped,
        "users": len({message.user for message in chat.messages}),
        "lag": None if lag is None else {**asdict(lag), "p_value": _significant(lag.p_value)},
    }


def _mood(mood: Mood | None) -> dict[str, object] | None:
    if mood is None:
        return None
    return {
        "valence": round(mood.valence, 3),
        "intensity": round(mood.intensity, 3),
        "emotions": {name: round(share, 3) for name, share in zip(EMOTIONS, mood.emotions, strict=True)},
    }


def _highlight(highlight: Highlight, video_url: str) -> dict[str, object]:
    return {
        "start_seconds": highlight.start_seconds,
        "peak_seconds": highlight.peak_seconds,
        "end_seconds": highlight.end_seconds,
        "watch_url": watch_link(video_url, highlight.start_seconds),
        "p_value": _significant(highlight.p_value),
        "mood": highlight.mood or None,
        "explanation": highlight.explanation,
        "evidence": [
            {
                "signal": str(each.signal),
                "value": round(each.value, 2),
                "usual": round(each.usual, 2),
                "unit": each.unit,
                "p_value": _significant(each.p_value),
                "counts": each.counts,
                "words": each.words,
            }
            for each in highlight.evidence
        ],
        "messages": [_message(message) for message in highlight.messages],
        "said": [asdict(segment) for segment in highlight.said],
    }


def _message(message: ChatMessage) -> dict[str, object]:
    return {"offset_seconds": message.offset_seconds, "user": message.user, "text": message.text}


def _timeline(timeline: Timeline) -> dict[str, object]:
    step = max(1, math.ceil(len(timeline.loudness_dbfs) / MOST_POINTS))
    return {
        "step_seconds": step,
        "loudness_dbfs": _points(timeline.loudness_dbfs, step, highest=True, digits=1),
        "chat_per_second": _points(timeline.chat_per_second, step, highest=True, digits=2),
        "valence": _points(timeline.valence, step, highest=False, digits=3),
        "intensity": _points(timeline.intensity, step, highest=False, digits=3),
    }


def _points(series: Array, step: int, *, highest: bool, digits: int) -> list[float | None]:
    """One value per step: the highest, so that a peak is not lost, or the mean; None where there is nothing."""
    points: list[float | None] = []
    for start in range(0, len(series), step):
        values = series[start : start + step]
        values = values[np.isfinite(values)]
        value = None if len(values) == 0 else float(values.max() if highest else values.mean())
        points.append(None if value is None else round(value, digits))
    return points


def _significant(number: float) -> float:
    """Three digits; a p-value is no better known than that."""
    return float(f"{number:.3g}")


def schema() -> Mapping[str, object]:
    """The JSON schema of result.json."""
    read: Mapping[str, object] = json.loads(files(__package__).joinpath("result.schema.json").read_text("utf-8"))
    return read
