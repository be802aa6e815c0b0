"""Whisper by faster-whisper (CTranslate2), with the weights that are mounted."""

import hashlib
import math
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel

from klipstream_pipeline.outcome import EngineMissing
from klipstream_pipeline.speech import Cut, Utterance
from klipstream_pipeline.transcript import Segment


class Whisper:
    """An Engine. Thirty seconds are what the model hears at once, so that utterances are joined up to nearly that."""

    name = "whisper"
    low_confidence = False
    cut = Cut(longest_seconds=28.0, pause_seconds=3.0)

    def __init__(self, folder: Path, language: str) -> None:
        """Load the model in `folder`. Raises EngineMissing where it cannot be loaded, or knows English only."""
        try:
            self._model = WhisperModel(
                str(folder), compute_type="default", cpu_threads=_processors(), local_files_only=True
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineMissing(f"the Whisper model in {folder} cannot be loaded: {error}") from error
        if language != "en" and not self._model.model.is_multilingual:
            raise EngineMissing(f"the Whisper model in {folder} knows English only, and not {language}")
        self.language = language
        self.settings = f"faster-whisper {version('faster-whisper')} {_fingerprint(folder)} {language}"

    def transcribe(self, utterance: Utterance) -> tuple[Segment, ...]:
        sound = utterance.samples.astype(np.float32) / 32768.0
        # One temperature and no text from before: nothing is drawn at random, and nothing depends on what came earlier.
        found, _ = self._model.transcribe(
            sound, language=self.language, temperature=0.0, condition_on_previous_text=False, beam_size=5
        )
        length = utterance.end_seconds - utterance.start_seconds
        return tuple(
            Segment(
                round(utterance.start_seconds + min(each.start, length), 3),
                round(utterance.start_seconds + min(each.end, length), 3),
                each.text.strip(),
                round(math.exp(min(0.0, each.avg_logprob)), 3),
            )
            for each in found
            if each.text.strip()
        )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fingerprint(folder: Path) -> str:
    """Tells one model from another without reading gigabytes: its configuration and the ends of its weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.bin"):
        file = folder / name
        if file.is_file():
            with file.open("rb") as opened:
                digest.update(opened.read(1 << 20))
                opened.seek(max(0, file.stat().st_size - (1 << 20)))
                digest.update(opened.read())
            digest.update(str(file.stat().st_size).encode())
    return digest.hexdigest()[:16]
