"""The chat of a recording: people who write on their own, answer each other, and may or may not react."""

from dataclasses import dataclass

import numpy as np

from kliprecordings.script import Moment, Script
from kliprecordings.texts import BOT, CHATTER, NAMES, PASTA, RAID, REACTIONS


@dataclass(frozen=True)
class Line:
    """One message."""

    offset: float
    user: str
    text: str


def make_chat(script: Script) -> list[Line]:
    """Lines in the order of time; empty for the chat kind none. Some lie past the end, as in real logs."""
    if script.chat_kind == "none":
        return []
    random = np.random.default_rng([script.seed, 3])
    room = _Room(random)
    rate = float(np.exp(random.uniform(np.log(0.4), np.log(4.0))))
    lines = _ordinary(script, random, room, rate)
    if script.chat_kind != "unmoved":
        for moment in script.moments:
            lines += _reaction(script, random, room, rate, moment)
    for decoy in script.decoys:
        if decoy.kind == "raid":
            lines += _raid(random, room, decoy)
        elif decoy.kind == "pasta":
            lines += _pasta(random, room, decoy)
    lines += _bot(random, script.seconds)
    if random.random() < 0.5:
        lines += _spammer(random, script.seconds)
    lines.append(Line(round(script.seconds + 3.0, 3), room.regular(), "still here"))
    return sorted(lines, key=lambda line: line.offset)


class _Room:
    """Who is there: few write much, many write little, and some have never written."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._regulars = [self._name() for _ in range(int(random.integers(25, 160)))]
        self._newcomers = 0

    def _name(self) -> str:
        return f"{self._random.choice(NAMES)}{self._random.choice(NAMES)}{self._random.integers(0, 10_000)}"

    def regular(self) -> str:
        place = min(len(self._regulars) - 1, int(self._random.pareto(0.9) * 3))
        return self._regulars[place]

    def newcomer(self) -> str:
        return self._name()

    def stays(self, user: str) -> None:
        self._regulars.insert(int(self._random.integers(0, len(self._regulars))), user)


def _ordinary(script: Script, random: np.random.Generator, room: _Room, rate: float) -> list[Line]:
    """Messages at a slowly drifting rate; in a bursty chat each may call forth others on the same subject."""
    turns = int(script.seconds / 120.0) + 2
    drift = np.exp(np.cumsum(random.normal(0.0, 0.18, turns)))
    trend = np.linspace(1.0, random.uniform(0.5, 2.0), turns)
    times = np.arange(turns) * 120.0
    highest = float((drift * trend).max()) * rate
    branching, decay = (
        (random.uniform(0.35, 0.65), random.uniform(2.0, 9.0)) if script.chat_kind != "steady" else (0, 1)
    )
    if script.chat_kind == "unmoved" and random.random() < 0.5:
        branching = 0.0
    starts = np.sort(random.uniform(0.0, script.seconds, random.poisson(highest * script.seconds)))
    kept = starts[random.uniform(0.0, highest, len(starts)) < rate * np.interp(starts, times, drift * trend)]
    kept = kept[random.random(len(kept)) < 1.0 - branching]
    lines: list[Line] = []
    waiting = [(float(time), "") for time in kept]
    while waiting:
        offset, subject = waiting.pop()
        text = str(random.choice(CHATTER))
        if subject and random.random() < 0.6:
            text = str(random.choice(REACTIONS[subject]))
        lines.append(Line(round(offset, 3), room.regular() if random.random() < 0.9 else room.newcomer(), text))
        for _ in range(int(random.poisson(branching))):
            follows = offset + float(random.exponential(decay))
            if follows < script.seconds:
                waiting.append(
                    (follows, subject or (str(random.choice(list(REACTIONS))) if random.random() < 0.3 else ""))
                )
    return lines


def _reaction(script: Script, random: np.random.Generator, room: _Room, rate: float, moment: Moment) -> list[Line]:
    """What a moment calls forth: after the lag, quickly rising, slowly falling."""
    gain = random.uniform(2.5, 8.0)
    length = moment.end_seconds - moment.start_seconds
    count = int(random.poisson(max(6.0, rate * gain * random.uniform(6.0, 12.0))))
    lag = script.chat_lag_seconds + float(random.normal(0.0, 0.7))
    lines = []
    for _ in range(count):
        offset = moment.start_seconds + lag + float(random.uniform(0.0, 0.5 * length)) + float(random.gamma(2.0, 1.8))
        user = room.regular() if random.random() < 0.65 else room.newcomer()
        pool = REACTIONS[moment.kind] if random.random() < 0.75 else CHATTER
        if offset < script.seconds:
            lines.append(Line(round(offset, 3), user, str(random.choice(pool))))
    return lines


def _raid(random: np.random.Generator, room: _Room, decoy: Moment) -> list[Line]:
    """Another channel's viewers arrive at once; nothing has happened in the picture."""
    name = str(random.choice(NAMES))
    lines = []
    for _ in range(int(random.integers(25, 140))):
        user = room.newcomer()
        offset = decoy.start_seconds + float(random.gamma(1.5, (decoy.end_seconds - decoy.start_seconds) / 3.0))
        for _ in range(1 + int(random.random() < 0.3)):
            lines.append(Line(round(offset, 3), user, str(random.choice(RAID)).format(name=name)))
            offset += float(random.uniform(2.0, 20.0))
        if random.random() < 0.15:
            room.stays(user)
    return lines


def _pasta(random: np.random.Generator, room: _Room, decoy: Moment) -> list[Line]:
    """The same long text by many."""
    text = str(random.choice(PASTA))
    count = int(random.integers(8, 30))
    return [
        Line(round(float(random.uniform(decoy.start_seconds, decoy.end_seconds)), 3), room.regular(), text)
        for _ in range(count)
    ]


def _bot(random: np.random.Generator, seconds: float) -> list[Line]:
    every = float(random.uniform(90.0, 300.0))
    return [Line(round(float(offset), 3), "ChannelHelper", BOT) for offset in np.arange(every / 2, seconds, every)]


def _spammer(random: np.random.Generator, seconds: float) -> list[Line]:
    start = float(random.uniform(10.0, seconds - 20.0))
    offsets = start + np.sort(random.uniform(0.0, 15.0, int(random.integers(10, 35))))
    return [Line(round(float(offset), 3), "loudmouth77", "FIRST FIRST FIRST LOL") for offset in offsets]
