"""Which engine turns speech into words, and what all engines have in common."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from klipstream_pipeline.outcome import BadParameter, EngineMissing
from klipstream_pipeline.speech import Cut, Utterance
from klipstream_pipeline.transcript import Segment

CHOICES = ("auto", "whisper", "pocketsphinx", "none")
MODEL_VARIABLE = "KLIPSTREAM_WHISPER_MODEL"
"""Set by the queue's worker template: the folder of a CTranslate2 Whisper model that is mounted."""


class Engine(Protocol):
    """Speech to words. The same utterance gives the same words, whatever came before it."""

    @property
    def name(self) -> str: ...

    @property
    def language(self) -> str: ...

    @property
    def low_confidence(self) -> bool:
        """Its words are wrong too often to be read as a text."""

    @property
    def settings(self) -> str:
        """All that its words depend on, beside the sound: part of the key of what is saved."""

    @property
    def cut(self) -> Cut: ...

    def transcribe(self, utterance: Utterance) -> tuple[Segment, ...]:
        """What is said; times from the start of the recording."""


@dataclass(frozen=True)
class Choice:
    """An engine, or none, and why: it is told in the log, in the progress and in the result."""

    engine: Engine | None
    reason: str

    @property
    def label(self) -> str:
        """The reason in few words, for each progress message."""
        return self.reason.partition(": ")[0][:160]


def choose_engine(params: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Choice:
    """The engine that the job's parameters ask for: `transcriber` and `language`.

    auto takes Whisper where a model is mounted, else pocketsphinx, which knows English only, else none. Raises
    BadParameter, and EngineMissing where what is asked for by name is not there.
    """
    asked = params.get("transcriber", "auto")
    language = params.get("language", "en")
    if asked not in CHOICES:
        raise BadParameter(f"params.transcriber is {asked!r}: one of {', '.join(CHOICES)} is needed")
    if not (language.isascii() and language.isalpha() and language.islower() and len(language) in (2, 3)):
        raise BadParameter(f"params.language is {language!r}: a code such as en or de is needed")
    if asked == "none":
        return Choice(None, "no transcription was asked for")
    missing = why_no_whisper(environment)
    if asked == "whisper" and missing is not None:
        raise EngineMissing(f"params.transcriber is whisper, but {missing}")
    if asked == "pocketsphinx" and language != "en":
        raise EngineMissing(f"params.transcriber is pocketsphinx, which knows English only, and not {language}")
    if asked in ("auto", "whisper") and missing is None:
        from klipstream_pipeline.whisper import Whisper

        whisper = Whisper(Path(environment[MODEL_VARIABLE]), language)
        why = "asked for" if asked == "whisper" else "a model is mounted"
        return Choice(whisper, f"Whisper ({why}): {environment[MODEL_VARIABLE]}")
    if language != "en":
        return Choice(None, f"no transcription: {missing}, and pocketsphinx knows English only, not {language}")
    from klipstream_pipeline.sphinx import Sphinx

    why = "asked for" if asked == "pocketsphinx" else str(missing)
    return Choice(Sphinx(), f"pocketsphinx ({why}): expect about every second word to be wrong")


def why_no_whisper(environment: Mapping[str, str]) -> str | None:
    """What is missing for Whisper, None where all is there."""
    folder = environment.get(MODEL_VARIABLE)
    if not folder:
        return f"no Whisper model is mounted ({MODEL_VARIABLE} is not set)"
    if not (Path(folder) / "model.bin").is_file():
        return f"{MODEL_VARIABLE}={folder} holds no model.bin"
    if importlib.util.find_spec("faster_whisper") is None:
        return "this image has no faster-whisper (build it with EXTRA=whisper)"
    return None
