"""What happens in a recording and when: the truth, before anything is heard or written."""

from dataclasses import dataclass

import numpy as np

from kliprecordings.texts import EXCITED

EVENT_APART_SECONDS = 28.0
DECOY_APART_SECONDS = 18.0


@dataclass(frozen=True)
class Moment:
    """An exciting moment, or something that only looks like one; seconds from the start."""

    start_seconds: float
    end_seconds: float
    kind: str


@dataclass(frozen=True)
class Script:
    """Everything that is decided before the recording is made."""

    seed: int
    seconds: float
    chat_kind: str
    """steady, bursty, unmoved (it does not react to anything) or none."""
    moments: tuple[Moment, ...]
    decoys: tuple[Moment, ...]
    """music, applause, raid or pasta: no highlight, however loud or busy."""
    chat_lag_seconds: float
    voice: int


def write_script(seed: int, seconds: float, chat_kind: str, *, eventful: bool = True) -> Script:
    """Decide by seed: a moment about every 65 s if eventful, decoys in between either way."""
    random = np.random.default_rng([seed, 1])
    moments: list[Moment] = []
    if eventful:
        wanted = max(1, round(seconds / random.uniform(50, 85)))
        for _ in range(500):
            start = float(random.uniform(18.0, seconds - 24.0))
            if len(moments) < wanted and _free(start, moments, EVENT_APART_SECONDS):
                length = float(random.uniform(4.0, 9.0))
                moments.append(Moment(round(start, 2), round(start + length, 2), str(random.choice(list(EXCITED)))))
    decoys: list[Moment] = []
    hours = seconds / 3600.0
    for kind, per_hour, shortest, longest in (
        ("music", 12, 15, 70),
        ("applause", 12, 3, 9),
        ("raid", 5, 15, 40),
        ("pasta", 6, 10, 25),
    ):
        for _ in range(int(random.poisson(per_hour * hours))):
            for _ in range(50):
                start = float(random.uniform(8.0, seconds - 12.0))
                if _free(start, [*moments, *decoys], DECOY_APART_SECONDS):
                    end = min(seconds - 1.0, start + float(random.uniform(shortest, longest)))
                    decoys.append(Moment(round(start, 2), round(end, 2), kind))
                    break
    return Script(
        seed=seed,
        seconds=seconds,
        chat_kind=chat_kind,
        moments=tuple(sorted(moments, key=lambda each: each.start_seconds)),
        decoys=tuple(sorted(decoys, key=lambda each: each.start_seconds)),
        chat_lag_seconds=round(float(random.uniform(2.0, 14.0)), 2),
        voice=int(random.integers(0, 5)),
    )


def _free(start: float, taken: list[Moment], apart: float) -> bool:
    return all(abs(start - other.start_seconds) >= apart for other in taken)
