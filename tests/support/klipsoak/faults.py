"""The faults that are on for the whole of a soak."""

import random

from klipfault.faults import (
    CloseWatch,
    Delay,
    DelayEvent,
    DropAnswer,
    DuplicateEvent,
    ExpireWatch,
    Fault,
    FreezeWatch,
    Refuse,
    Reset,
    Rule,
    SwallowEvent,
)

REQUEST_SHARE = 0.004
"""How often a request meets each of its faults."""
WATCH_SHARE = 0.08
"""How often a watch meets each of its faults."""
REQUEST_FAULTS: tuple[Fault, ...] = (
    Refuse(409), Refuse(429, retry_after_seconds=1), Refuse(500), Refuse(503), Delay(0.5), Reset(), DropAnswer(),
)  # fmt: skip
WATCH_FAULTS: tuple[Fault, ...] = (
    CloseWatch(10), CloseWatch(60), FreezeWatch(30), ExpireWatch(0), ExpireWatch(40), SwallowEvent(20),
    DuplicateEvent(5), DelayEvent(25, seconds=0.5),
)  # fmt: skip


def rules(dice: random.Random) -> list[Rule]:
    """Each kind by chance. A 410 in answer to a list, and a 422, come only to certain requests, as from a real one."""
    return [
        Rule(Refuse(410), verbs=frozenset({"list"}), chance=REQUEST_SHARE, dice=dice),
        Rule(Refuse(422), verbs=frozenset({"patch"}), chance=REQUEST_SHARE, dice=dice),
        *(Rule(fault, verbs=_REQUESTS, chance=REQUEST_SHARE, dice=dice) for fault in REQUEST_FAULTS),
        *(Rule(fault, chance=WATCH_SHARE, dice=dice) for fault in WATCH_FAULTS),
    ]


_REQUESTS = frozenset({"get", "list", "create", "update", "patch", "delete"})
