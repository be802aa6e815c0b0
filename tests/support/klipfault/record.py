"""What a proxy did: the faults that it injected and the writes that passed."""

from collections import Counter
from dataclasses import dataclass, field

from klipfault.calls import Call


@dataclass(slots=True)
class Write:
    """A write on its way to the API server."""

    ordinal: int
    """The how-manieth it is, from 1."""
    call: Call
    code: int | None = None
    """What the API server answered; None while, or because, no answer came."""


@dataclass(slots=True)
class Record:
    """Faults by kind, writes in the order in which they came, and watches."""

    faults: Counter[str] = field(default_factory=Counter)
    writes: list[Write] = field(default_factory=list)
    watches: Counter[str] = field(default_factory=Counter)
    """Watches that are open now, by resource."""

    @property
    def injected(self) -> int:
        """How many faults were injected."""
        return self.faults.total()

    def begin(self, call: Call) -> Write:
        """A write comes by."""
        write = Write(len(self.writes) + 1, call)
        self.writes.append(write)
        return write
