"""What a text feels like: valence by VADER with a lexicon of our own for chats and games, and emotions."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from vader import SentimentIntensityAnalyzer
from vader.data.emoji import EMOJI
from vader.data.lexicon import MULTIWORD

EMOTIONS = ("joy", "hype", "surprise", "sadness", "anger", "fear")
_NO_EMOTION = (0.0,) * len(EMOTIONS)
_REMEMBERED_TEXTS = 1 << 16
_REMEMBERED_WORDS = 1 << 15
_LONGEST_TEXT = 500
_NEGATIONS = frozenset({
    "not", "no", "never", "none", "cannot", "without", "hardly", "isnt", "wasnt", "arent", "aint", "dont", "doesnt",
    "didnt", "cant", "couldnt", "wont", "wouldnt",
})  # fmt: skip
_NEGATION_REACH = 3
_TOKEN = re.compile(r"[:;=8xX][-'o]?[)(DPp3|/]+|<3+|[\w'’&-]+|\?{2,}|[^\w\s]")
_LAUGHTER = re.compile(r"(?:[ja]*h[ah]*|[ha]*j[aj]*)(?:ha|ah|ja|aj)[haj]*|(?:he){2,}h?|x+d+|k(?:ek){2,}|(?:lo){2,}l?")
_RUN_OF_THREE = re.compile(r"(.)\1{2,}")
_RUN = re.compile(r"(.)\1+")
_SUFFIXED = re.compile(r"[a-z][a-z0-9]{2,11}?([A-Z][A-Za-z]{1,6})")


@dataclass(frozen=True, slots=True)
class Feeling:
    """Valence from -1 to 1, and one share from 0 to 1 for each of EMOTIONS."""

    valence: float
    emotions: tuple[float, ...]

    @property
    def intensity(self) -> float:
        """How much feeling there is, whatever it is: 0 to 1."""
        return max(abs(self.valence), *self.emotions)


@dataclass(frozen=True)
class _Lexicon:
    """stream_lexicon.toml, ready for lookups."""

    words: Mapping[str, float]
    phrases: Mapping[str, float]
    emoji: Mapping[str, str]
    suffixes: Mapping[str, str]
    emotions: Mapping[str, tuple[int, ...]]

    @classmethod
    def read(cls) -> "_Lexicon":
        content = tomllib.loads(files(__package__).joinpath("stream_lexicon.toml").read_text("utf-8"))
        emotions: dict[str, tuple[int, ...]] = {}
        for number, name in enumerate(EMOTIONS):
            for word in content["emotions"][name].split():
                emotions[word] = (*emotions.get(word, ()), number)
        return cls(content["words"], content["phrases"], content["emoji"], content["suffixes"], emotions)


_LEXICON = _Lexicon.read()
_PHRASES = {**MULTIWORD, **_LEXICON.phrases}
# Emoji are named by _canonical: VADER's own translation looks at every character of every text.
_ANALYZER = SentimentIntensityAnalyzer(
    extra_lexicon=_LEXICON.words, multiword=_PHRASES, special_cases={}, idioms={}, emoji={}
)
_KNOWN = frozenset(_LEXICON.words) | frozenset(_LEXICON.emotions) | frozenset(_ANALYZER.lexicon)
_PHRASE_STARTS = frozenset(phrase.split()[0] for phrase in _PHRASES)
# A text without any of these has no valence: most of a chat, so it is worth knowing before VADER is asked.
_SCORED = frozenset(word for word, score in _ANALYZER.lexicon.items() if score) | _PHRASE_STARTS
_SHOWING = frozenset(word.partition("_")[0] for word in _LEXICON.emotions)
_LONGEST_PHRASE = max(phrase.count(" ") + 1 for phrase in _PHRASES)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def feeling(text: str) -> Feeling:
    """Score one message or sentence in English; what it does not know counts as neutral."""
    tokens = _tokens(text)
    lower = [token.lower() for token in tokens]
    valence, emotions = 0.0, _NO_EMOTION
    if not _SCORED.isdisjoint(lower):
        valence = float(_ANALYZER.polarity_scores(" ".join(tokens))["compound"])
    if not _SHOWING.isdisjoint(lower):
        emotions = _emotions(lower)
    return Feeling(valence, emotions)


def feelings(texts: Sequence[str]) -> NDArray[np.float64]:
    """One row per text: valence, intensity, then EMOTIONS."""
    rows = np.zeros((len(texts), 2 + len(EMOTIONS)))
    for number, text in enumerate(texts):
        felt = feeling(text)
        rows[number] = (felt.valence, felt.intensity, *felt.emotions)
    return rows


def _tokens(text: str) -> list[str]:
    """Words as the lexicons know them: emoji and emotes by name, runs of letters folded, endless repetition cut."""
    tokens: list[str] = []
    for found in _TOKEN.findall(text[:_LONGEST_TEXT]):
        token = _canonical(found)
        # VADER adds up what is repeated; a wall of one emote says it twice at most.
        if tokens[-2:] != [token, token]:
            tokens.append(token)
    return tokens


@lru_cache(maxsize=_REMEMBERED_WORDS)
def _canonical(found: str) -> str:
    if not found[0].isascii() and (named := _LEXICON.emoji.get(found) or EMOJI.get(found)):
        return named
    lower = found.lower()
    if lower in _LEXICON.words:
        return lower
    if lower in _KNOWN:
        return found
    suffixed = _SUFFIXED.fullmatch(found)
    if suffixed and suffixed[1] in _LEXICON.suffixes:
        return _LEXICON.suffixes[suffixed[1]]
    if _LAUGHTER.fullmatch(lower):
        return "haha"
    shorter = (_RUN_OF_THREE.sub(r"\1\1", lower), _RUN_OF_THREE.sub(r"\1", lower), _RUN.sub(r"\1", lower))
    # Our own words first: "FFFF" is an F, and not VADER's "ff".
    for known in (_LEXICON.words, _KNOWN):
        for word in shorter:
            if word in known:
                return word if known is _LEXICON.words or not found.isupper() else word.upper()
    return found


def _emotions(lower: Sequence[str]) -> tuple[float, ...]:
    """Each hit adds a half, up to 1; a negation shortly before takes it away. A phrase is read as a whole."""
    hits = [0] * len(EMOTIONS)
    place = 0
    while place < len(lower):
        length = _phrase_length(lower, place)
        shown = _LEXICON.emotions.get("_".join(lower[place : place + length]), ())
        if shown and not _negated(lower[max(0, place - _NEGATION_REACH) : place]):
            for number in shown:
                hits[number] += 1
        place += length
    return tuple(min(1.0, 0.5 * count) for count in hits)


def _phrase_length(lower: Sequence[str], place: int) -> int:
    """How many words the longest known phrase takes that begins here; 1 where there is none."""
    if lower[place] in _PHRASE_STARTS:
        for length in range(min(_LONGEST_PHRASE, len(lower) - place), 1, -1):
            if " ".join(lower[place : place + length]) in _PHRASES:
                return length
    return 1


def _negated(before: Sequence[str]) -> bool:
    return any(word.replace("'", "") in _NEGATIONS for word in before)
