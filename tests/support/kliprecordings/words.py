"""Word error rate, and transcripts with the errors that a recogniser would make."""

import re
from collections.abc import Sequence

import numpy as np

from kliprecordings.soundtrack import Said

_WORD = re.compile(r"[a-z0-9']+")
_MISHEARD = re.findall(
    r"\w+",
    """the a of and to in it is that was for on you he be with as i his they at one have this from or had by hot word
    but what some we can out other were all there when up use your how said an each she which do their time if will way
    about many then them write would like so these her long make thing see him two has look more day could go come
    great good bad love hate no fun cry win wow""",
)


def words(text: str) -> list[str]:
    """Lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def word_error_rate(truth: str, heard: str) -> float:
    """Substitutions, deletions and insertions over the number of true words (Levenshtein); may exceed 1.

    O(words of truth x words heard) time, one row of memory. Raises ValueError without true words.
    """
    wanted, got = words(truth), words(heard)
    if not wanted:
        raise ValueError("there is no true word to compare with")
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*wanted, *got]))}
    heard_numbers = np.array([numbers[word] for word in got], dtype=np.int64)
    row = np.arange(len(got) + 1)
    steps = np.arange(len(got) + 1)
    for word in wanted:
        changed = np.concatenate([[row[0] + 1], np.minimum(row[1:] + 1, row[:-1] + (heard_numbers != numbers[word]))])
        # An insertion costs one more than the word before: a running minimum once the steps are taken off.
        row = np.minimum.accumulate(changed - steps) + steps
    return float(row[-1]) / len(wanted)


def misheard(said: Sequence[Said], random: np.random.Generator, error_rate: float) -> list[Said]:
    """What a recogniser of about this word error rate hears; half as bad again where something loud lies over it."""
    heard = []
    for each in said:
        rate = min(0.85, error_rate * (1.5 if each.noisy else 1.0))
        text: list[str] = []
        for word in words(each.text):
            chance = random.random()
            if chance >= rate:
                text.append(word)
            elif chance > rate * 0.3:
                text.append(str(random.choice(_MISHEARD)))
            if random.random() < rate * 0.1:
                text.append(str(random.choice(_MISHEARD)))
        if text:
            heard.append(Said(each.start_seconds, each.end_seconds, " ".join(text), each.noisy))
    return heard
