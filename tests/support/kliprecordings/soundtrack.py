"""The sound of a recording, and what is said in it."""

from dataclasses import dataclass

import numpy as np

from kliprecordings.script import Moment, Script
from kliprecordings.sound import Sound, applause, cheer, level, music, noise
from kliprecordings.speech import RATE, VOICES, say
from kliprecordings.texts import EXCITED, PLAIN


@dataclass(frozen=True)
class Said:
    """One sentence; seconds from the start."""

    start_seconds: float
    end_seconds: float
    text: str
    noisy: bool
    """Something loud lies over it."""


def make_soundtrack(script: Script) -> tuple[Sound, tuple[Said, ...]]:
    """Speech with pauses and silences, louder and faster in the moments, with music and applause over it."""
    random = np.random.default_rng([script.seed, 2])
    voice = VOICES[script.voice]
    speech_dbfs = random.uniform(-30.0, -20.0)
    sound = noise(random, script.seconds) * level(random.uniform(-66.0, -48.0))
    said: list[Said] = []
    now = float(random.uniform(0.5, 4.0))
    moments = list(script.moments)
    while now < script.seconds - 6.0:
        if moments and now >= moments[0].start_seconds - 0.3:
            now = _excited(random, sound, said, moments.pop(0), voice, speech_dbfs)
            continue
        until = moments[0].start_seconds if moments else script.seconds
        if random.random() < 0.06:
            now = min(until, now + random.uniform(5.0, 25.0))  # nobody speaks
            continue
        text = str(random.choice(PLAIN))
        spoken = say(text, voice, int(random.choice([145, 155, 165])), 50)
        if now + len(spoken) / RATE > until:
            now = until
            continue
        _add(sound, spoken, now, speech_dbfs + random.normal(0.0, 2.0))
        end = now + len(spoken) / RATE
        said.append(Said(round(now, 2), round(end, 2), text, noisy=_covered(script, now, end)))
        now = end + random.exponential(0.7) + 0.15
    for decoy in script.decoys:
        length = decoy.end_seconds - decoy.start_seconds
        if decoy.kind == "music":
            _add(sound, music(random, length), decoy.start_seconds, speech_dbfs + random.uniform(-6.0, 6.0))
        elif decoy.kind == "applause":
            _add(sound, applause(random, length), decoy.start_seconds, speech_dbfs + random.uniform(0.0, 10.0))
    return np.clip(sound, -1.0, 1.0), tuple(said)


def _excited(
    random: np.random.Generator, sound: Sound, said: list[Said], moment: Moment, voice: str, speech_dbfs: float
) -> float:
    """Shouted sentences until the moment is over, mostly with a crowd behind them; when it ends."""
    louder = random.uniform(4.0, 10.0)
    crowd = random.random() < 0.65
    if crowd:
        length = moment.end_seconds - moment.start_seconds + random.uniform(0.0, 3.0)
        _add(sound, cheer(random, length), moment.start_seconds, speech_dbfs + louder + random.uniform(-8.0, 2.0))
    now = moment.start_seconds
    while now < moment.end_seconds - 1.5:
        text = str(random.choice(EXCITED[moment.kind]))
        spoken = say(text, voice, int(random.choice([195, 210, 225])), 75)
        _add(sound, spoken, now, speech_dbfs + louder)
        said.append(Said(round(now, 2), round(now + len(spoken) / RATE, 2), text, noisy=crowd))
        now += len(spoken) / RATE + 0.2
    return now + 0.5


def _covered(script: Script, start: float, end: float) -> bool:
    loud = [decoy for decoy in script.decoys if decoy.kind in ("music", "applause")]
    return any(decoy.start_seconds < end and decoy.end_seconds > start for decoy in loud)


def _add(sound: Sound, what: Sound, start_seconds: float, dbfs: float) -> None:
    start = int(start_seconds * RATE)
    end = min(len(sound), start + len(what))
    sound[start:end] += what[: end - start] * level(dbfs)
