"""What goes wrong, and when: the plan of a run's faults, and who carries those out that hit a write."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from klipsim.http_api import Answer, refusal
from klipsim.rows import READ, ROWS, UNREACHABLE

CRASHES = ("crash before", "crash after")
REFUSALS: dict[str, tuple[int, str, dict[str, str]]] = {
    "refused 403": (403, "Forbidden", {}),
    "refused 409": (409, "Conflict", {}),
    "refused 429": (429, "TooManyRequests", {"Retry-After": "1"}),
    "refused 500": (500, "InternalError", {}),
    "refused 503": (503, "ServiceUnavailable", {}),
    "refused 504": (504, "Timeout", {}),
}
WRITE_FAULTS = (
    *CRASHES, "reset before", "answer lost", "answer delayed", "delayed", "sent twice", "frozen before sending",
    *REFUSALS,
)  # fmt: skip
"""Faults that hit one write: the columns of the coverage matrix."""
TIMED_FAULTS = (
    "killed", "terminated", "frozen", "partitioned", "server away", "error storm", "watch lags", "watch cut",
    "watch gone", "watch swallows", "watch repeats", "watch silent", "compacted", "node lost", "clock set",
)  # fmt: skip
"""Faults that begin at a time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan."""

    kind: str
    row: str = ""
    """Of faults that hit a write: which one."""
    nth: int = 0
    """… and the how manieth of them, from 0."""
    at: float = 0.0
    """Of timed faults: seconds since the beginning."""
    seconds: float = 0.0
    """How long it lasts, or how long something is late."""
    replica: int = 0
    """Index of the replica that it hits."""
    detail: float = 0.0
    """A number from 0 to 1 for what else there is to choose."""

    def __str__(self) -> str:
        if self.row:
            return f"{self.kind}: {self.row} #{self.nth} ({self.seconds:.1f} s)"
        return f"{self.kind} at {self.at:.1f} s for {self.seconds:.1f} s (replica {self.replica})"


FAULTS_AT_LEAST = 5
_RARE = ("Job's name occupied", "Job fenced off", "lost pod ended", "lost pod deleted", "replay asked for",
         "superseded", "replay refused")  # fmt: skip
_WEIGHTED = (*(row for row in ROWS if row not in UNREACHABLE), *4 * _RARE)


def plan_faults(rng: random.Random, horizon_seconds: float) -> list[Fault]:
    """At random: some hit a write, if it comes to that; five or more begin at a time, so that many always happen."""
    faults = []
    for _ in range(rng.randint(3, 9)):
        kind = rng.choice(WRITE_FAULTS)
        row = rng.choice(_WEIGHTED)
        common = row in ("accepted", "started", "succeeded", "progress", "running", "Job created",
                         "reserve or release slots", "Lease taken or renewed")  # fmt: skip
        nth = rng.randrange(12) if common else rng.choice((0, 0, 0, 1, 2))
        faults.append(Fault(kind, row, nth, seconds=rng.choice((0.3, 2.0, 6.0, 16.0, 28.0, 45.0)), detail=rng.random()))
    for _ in range(rng.randint(FAULTS_AT_LEAST, FAULTS_AT_LEAST + 2)):
        kind = rng.choice(TIMED_FAULTS)
        at, seconds = rng.uniform(0.0, horizon_seconds), rng.choice((0.5, 3.0, 8.0, 17.0, 30.0))
        if kind == "node lost":
            at, seconds = at / 2, rng.choice((3.0, 20.0, 40.0))
        faults.append(Fault(kind, at=at, seconds=seconds, replica=rng.randrange(3), detail=rng.random()))
    return faults


@dataclass(slots=True)
class Injector:
    """Decides for each request whether a fault hits it, and counts what happened."""

    faults: list[Fault]
    now: Callable[[], float]
    rng: random.Random
    armed: bool = True
    hit: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Faults carried out, by row and kind."""
    seen: Counter[str] = field(default_factory=Counter)
    """Writes by row."""
    storm_until: float = 0.0
    storm: str = "refused 500"

    def about_to_send(self, row: str) -> Fault | None:
        """The fault that hits this request, if any."""
        if row == READ:
            return None
        nth = self.seen[row]
        self.seen[row] += 1
        if not self.armed:
            return None
        for fault in self.faults:
            if fault.row == row and fault.nth == nth:
                self.hit[row, fault.kind] += 1
                return fault
        return None

    def refuses(self) -> Answer | None:
        """During a storm of errors, half of the requests are refused."""
        if self.now() >= self.storm_until or self.rng.random() < 0.5:
            return None
        code, reason, headers = REFUSALS[self.storm]
        return refusal(code, reason, f"injected: {self.storm}", headers=headers)

    def happened(self, kind: str) -> None:
        """Count a timed fault."""
        self.hit["", kind] += 1
