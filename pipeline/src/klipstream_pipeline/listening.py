"""One pass over the sound: how loud it is and what is said, in memory that does not grow with its length."""

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from klipstream_pipeline.decoding import open_sound
from klipstream_pipeline.engines import Choice
from klipstream_pipeline.loudness import Loudness, LoudnessMeter
from klipstream_pipeline.segment_log import SegmentLog
from klipstream_pipeline.speech import SpeechFinder, Utterance
from klipstream_pipeline.transcript import Segment, Transcript

log = logging.getLogger(__name__)
FORMAT = "1"
"""Of what is saved; another one starts afresh."""
READ_BYTES = 1 << 20


class Watch(Protocol):
    """Told how it goes; each of its methods may raise to end it all."""

    def report(self, share: float, message: str) -> None:
        """What was done."""

    def skip_to(self, share: float, message: str) -> None:
        """What the last attempt had done."""

    def saved(self, seconds: float) -> None:
        """The words up to there are saved."""

    def wants_checkpoint(self) -> bool:
        """Whether the queue asks for one now."""


@dataclass(frozen=True)
class Recording:
    """All that is known of a video once it has been heard."""

    size_bytes: int
    sha256: str
    loudness: Loudness
    transcript: Transcript
    skipped_packets: int
    """Packets that could not be decoded and were passed over."""

    def to_bytes(self) -> bytes:
        return json.dumps({
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "skipped_packets": self.skipped_packets,
            "dbfs": base64.b64encode(self.loudness.dbfs.astype("<f8").tobytes()).decode(),
            "window_seconds": self.loudness.window_seconds,
            "duration_seconds": self.loudness.duration_seconds,
            "transcript": asdict(self.transcript),
        }).encode()  # fmt: skip

    @classmethod
    def from_bytes(cls, content: bytes) -> "Recording | None":
        """None where it is not whole."""
        try:
            said = json.loads(content)
            dbfs = np.frombuffer(base64.b64decode(said["dbfs"]), "<f8").astype(np.float64)
            words = said["transcript"]
            segments = tuple(Segment(**each) for each in words.pop("segments"))
            return cls(
                said["size_bytes"],
                said["sha256"],
                Loudness(dbfs, said["window_seconds"], said["duration_seconds"]),
                Transcript(segments=segments, **words),
                said["skipped_packets"],
            )
        except (ValueError, TypeError, KeyError):
            log.warning("a saved recording is torn: it is heard again")
            return None


def software(choice: Choice) -> str:
    """What the words and levels depend on beside the video."""
    engine = choice.engine
    return f"{FORMAT} pyav {av.__version__} {engine.settings if engine is not None else 'none'}"


def fingerprint(video: Path, check: Callable[[], None]) -> str:
    """SHA-256 of a file; `check` is called for each MiB and may raise."""
    digest = hashlib.sha256()
    with video.open("rb") as file:
        while block := file.read(READ_BYTES):
            check()
            digest.update(block)
    return digest.hexdigest()


def listen(video: Path, sha256: str, choice: Choice, segments: SegmentLog, watch: Watch) -> Recording:
    """Hear a whole video. Words that `segments` has are taken from there, all others are saved in it as they come.

    Whatever ends it, what has been heard until then is saved. Raises BadVideo, NoSound, and what `watch` raises.
    """
    try:
        return _listen(video, sha256, choice, segments, watch)
    finally:
        segments.flush()


def _listen(video: Path, sha256: str, choice: Choice, segments: SegmentLog, watch: Watch) -> Recording:
    engine, meter = choice.engine, LoudnessMeter()
    finder = SpeechFinder(engine.cut) if engine is not None else None
    found: list[Segment] = []
    name = choice.label

    with open_sound(video) as sound:
        expected = sound.expected_seconds

        def hear(utterance: Utterance) -> None:
            assert engine is not None
            share = min(0.99, utterance.end_seconds / expected) if expected else 0.5
            message = f"{name}: {_clock(utterance.end_seconds)}"
            message += f" of {_clock(expected)}" if expected else ""
            known = segments.of(utterance)
            if known is not None:
                found.extend(known)
                watch.skip_to(share, f"{message}, from the last attempt")
                return
            words = engine.transcribe(utterance)
            found.extend(words)
            if segments.add(utterance, words, now=watch.wants_checkpoint()):
                watch.saved(utterance.end_seconds)
            watch.report(share, message)

        for block in sound.blocks():
            meter.add(block)
            if finder is not None:
                for utterance in finder.add(block):
                    hear(utterance)
            share = min(0.99, meter.seconds / expected) if expected else 0.5
            watch.report(share, f"{name}: {_clock(meter.seconds)}")
        for utterance in finder.finish() if finder is not None else ():
            hear(utterance)
        skipped = sound.skipped_packets
    if skipped:
        log.warning("%d packets of the sound could not be decoded and were passed over", skipped)
    loudness = meter.measured()
    transcript = Transcript(
        engine=engine.name if engine is not None else "none",
        language=engine.language if engine is not None else "",
        low_confidence=engine is not None and engine.low_confidence,
        segments=tuple(found),
        reason=choice.reason,
    )
    return Recording(video.stat().st_size, sha256, loudness, transcript, skipped)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
