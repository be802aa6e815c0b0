"""What can go wrong with a request, and the rules that say with which."""

import random
from dataclasses import dataclass, field

from klipfault.calls import Call


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answered with an error, and not forwarded."""

    code: int
    retry_after_seconds: int | None = None

    @property
    def kind(self) -> str:
        return f"refuse {self.code}" + ("+Retry-After" if self.retry_after_seconds is not None else "")


@dataclass(frozen=True, slots=True)
class Delay:
    """Forwarded only after a while."""

    seconds: float
    kind: str = "delay"


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is cut before anything is forwarded."""

    kind: str = "reset before forwarding"


@dataclass(frozen=True, slots=True)
class DropAnswer:
    """Forwarded; the connection is cut instead of an answer."""

    kind: str = "answer dropped"


@dataclass(frozen=True, slots=True)
class CloseWatch:
    """The watch ends, as when a server closes it, after so many events."""

    after_events: int
    kind: str = "watch closed"


@dataclass(frozen=True, slots=True)
class FreezeWatch:
    """After so many events no byte comes any more, and the connection stays open."""

    after_events: int
    kind: str = "watch frozen"


@dataclass(frozen=True, slots=True)
class ExpireWatch:
    """After so many events an ERROR event with code 410 comes, and the watch ends."""

    after_events: int
    kind: str = "watch expired (410)"


@dataclass(frozen=True, slots=True)
class SwallowEvent:
    """Every `every`th event of a watch never arrives. Bookmarks are left alone here and below."""

    every: int
    kind: str = "event swallowed"


@dataclass(frozen=True, slots=True)
class DuplicateEvent:
    """Every `every`th event of a watch arrives twice."""

    every: int
    kind: str = "event duplicated"


@dataclass(frozen=True, slots=True)
class DelayEvent:
    """Every `every`th event of a watch, and what follows it, arrives late."""

    every: int
    seconds: float
    kind: str = "event delayed"


RequestFault = Refuse | Delay | Reset | DropAnswer
WatchFault = CloseWatch | FreezeWatch | ExpireWatch | SwallowEvent | DuplicateEvent | DelayEvent
Fault = RequestFault | WatchFault
WATCH_FAULTS = (CloseWatch, FreezeWatch, ExpireWatch, SwallowEvent, DuplicateEvent, DelayEvent)


@dataclass(slots=True)
class Rule:
    """Which requests meet a fault. What is None matches everything; a subresource of "" means none.

    Of the requests that match, the `nth` one alone (from 1), or every one where `nth` is None, or each by chance.
    A fault of watches only ever meets watches.
    """

    fault: Fault
    verbs: frozenset[str] | None = None
    resource: str | None = None
    subresource: str | None = None
    name: str | None = None
    nth: int | None = None
    chance: float = 1.0
    dice: random.Random = field(default_factory=random.Random)
    matched: int = 0

    def meets(self, call: Call) -> bool:
        """Whether this request meets the fault; counts it when it matches."""
        wanted = ((self.resource, call.resource), (self.subresource, call.subresource), (self.name, call.name))
        if any(value is not None and value != of_call for value, of_call in wanted):
            return False
        if self.verbs is not None and call.verb not in self.verbs:
            return False
        if isinstance(self.fault, WATCH_FAULTS) and call.verb != "watch":
            return False
        self.matched += 1
        if self.nth is not None:
            return self.matched == self.nth
        return self.chance >= 1.0 or self.dice.random() < self.chance
