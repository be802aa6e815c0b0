"""Highlights in words, for people who do not know statistics."""

from collections.abc import Sequence

import numpy as np

from klipstream_pipeline.findings import Evidence, Signal
from klipstream_pipeline.significance import Array

_MOODS = {
    "joy": "laughter and joy", "hype": "excitement", "surprise": "surprise",
    "sadness": "sadness", "anger": "anger", "fear": "fear",
}  # fmt: skip
_NAMES = {
    Signal.CHAT: "a busier chat", Signal.LOUDNESS: "louder sound",
    Signal.CHAT_MOOD: "a turn of the mood in chat", Signal.SPEECH: "livelier speech",
}  # fmt: skip


def describe(signal: Signal, value: float, usual: float, unit: str) -> str:
    """One signal in words and numbers, as the part of a sentence."""
    if signal is Signal.CHAT:
        times = value / usual if usual > 0 else float("inf")
        pace = f"{times:.1f} times as fast as usual" if times < 20 else "many times as fast as usual"
        return f"chat wrote {pace} ({value:.1f} instead of {usual:.1f} messages a second)"
    if signal is Signal.LOUDNESS:
        word = "louder" if value >= usual else "quieter"
        return f"the sound was {abs(value - usual):.0f} dB {word} than around it"
    what = "messages" if signal is Signal.CHAT_MOOD else "words said"
    if unit == "valence":
        turn = "better" if value >= usual else "worse"
        return f"the mood of the {what} turned for the {turn} ({100 * value:+.0f} instead of {100 * usual:+.0f} of 100)"
    amount = f"{100 * value:.0f} instead of {100 * usual:.0f} of 100"
    if signal is Signal.SPEECH and value < usual:
        return f"speech was faster than usual, though its words showed less feeling ({amount})"
    word = "more" if value >= usual else "less"
    return f"the {what} showed {word} feeling than usual ({amount})"


def odds(p_value: float) -> str:
    """How often chance does the same, as "1 in 2,000"."""
    if p_value >= 0.5:
        return "about every time"
    times = 1.0 / max(p_value, 1e-9)
    digits = 10 ** max(0, int(np.log10(times)) - 1)
    return f"1 in {round(times / digits) * digits:,}" if times < 1e6 else "less than 1 in a million"


def explain(evidence: Sequence[Evidence], mood: str, p_value: float) -> str:
    """Two or three sentences: what stands out, what does not, and how likely chance is."""
    strong = [each.words for each in evidence if each.counts] or [evidence[0].words]
    weak = [_NAMES[each.signal] for each in evidence if not each.counts]
    text = f"{_joined(strong)}."
    text = text[0].upper() + text[1:]
    if mood:
        text += f" The mood was {_MOODS.get(mood, mood)}."
    if weak and len(strong) < len(evidence):
        text += f" Not counted as too weak: {_joined(weak)}."
    return f"{text} At one place of such a recording chance brings this {odds(p_value)}."


def why_nothing(signals: Sequence[Signal], p_values: Array, threshold: float) -> str:
    """Why a recording has no highlight."""
    counts = (p_values <= threshold).sum(axis=0)
    seen = [f"{_NAMES[signal]} at {count}" for signal, count in zip(signals, counts, strict=True)]
    places = f"{len(p_values)} places of ten seconds"
    if len(signals) == 1:
        return f"No moment stood out: of {places} none was loud enough to be more than chance."
    if not counts.any():
        return f"No moment stood out: in none of {places} was anything more unusual than chance makes it."
    return (
        f"No moment stood out: of {places} there was {_joined(seen)}, but nowhere two of these together, "
        "and one alone is what music, applause or a raid looks like."
    )


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
