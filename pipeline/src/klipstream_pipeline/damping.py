"""How much each message counts: people once, spam and copypasta less each time, bots not at all."""

import re
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from klipstream_pipeline.chat import ChatMessage

BOTS = frozenset({
    "nightbot", "streamelements", "streamlabs", "moobot", "fossabot", "wizebot", "sery_bot", "soundalerts",
    "botrixoficial", "own3d", "coebot", "phantombot", "stay_hydrated_bot", "kofistreambot", "pokemoncommunitygame",
    "blerp", "tangiabot", "streamlootsbot", "commanderroot",
})  # fmt: skip
"""Accounts that post on their own; compared in lower case."""
USER_SECONDS = 20.0
"""The n-th message of one person within this long counts 1/n: a burst is many people, not one who is loud."""
COPY_SECONDS = 300.0
COPY_WORDS = 6
"""A text of this many words, seen before within COPY_SECONDS, is a copy; shorter ones are what everybody says."""
ROBOT_MESSAGES = 8
ROBOT_REPEATS = 0.7
"""Who writes this often, and mostly the same long texts, is taken for a bot."""
_SPACE = re.compile(r"\s+")


def weights(messages: Sequence[ChatMessage]) -> NDArray[np.float64]:
    """A weight from 0 to 1 for each message; messages are in the order of time."""
    robots = _robots(messages)
    counted = np.ones(len(messages))
    recent: dict[str, deque[float]] = {}
    copies: dict[str, tuple[float, int]] = {}
    for number, message in enumerate(messages):
        user = message.user.lower()
        if user in BOTS or user in robots or message.text.startswith("!"):
            counted[number] = 0.0
            continue
        if user:
            times = recent.setdefault(user, deque())
            while times and times[0] < message.offset_seconds - USER_SECONDS:
                times.popleft()
            times.append(message.offset_seconds)
            counted[number] = 1.0 / len(times)
        pasted = _pasted(message.text)
        if pasted is not None:
            last, seen = copies.get(pasted, (-COPY_SECONDS, 0))
            seen = seen + 1 if message.offset_seconds - last < COPY_SECONDS else 1
            copies[pasted] = (message.offset_seconds, seen)
            counted[number] /= seen
    return counted


def _robots(messages: Sequence[ChatMessage]) -> frozenset[str]:
    written: dict[str, int] = {}
    different: dict[str, set[int]] = {}
    for message in messages:
        if message.user and _pasted(message.text) is not None:
            user = message.user.lower()
            written[user] = written.get(user, 0) + 1
            different.setdefault(user, set()).add(hash(message.text))
    return frozenset(
        user
        for user, count in written.items()
        if count >= ROBOT_MESSAGES and 1.0 - len(different[user]) / count >= ROBOT_REPEATS
    )


def _pasted(text: str) -> str | None:
    """The text without its case and spacing if it is long enough for a copy to be no coincidence."""
    if text.count(" ") + 1 < COPY_WORDS:
        return None
    return _SPACE.sub(" ", text.strip().lower())
