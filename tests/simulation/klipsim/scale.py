"""How large a run is: many small ones find more in the same time, long ones find what needs a long story."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[int, int]
"""From and to, both included."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a run's plan is drawn from. Times are in simulated seconds."""

    name: str
    horizon_seconds: float
    """Users act and faults begin within this time."""
    quiet_seconds: float
    """How long the steady state at the end is watched: for longer than a sweep takes to come."""
    jobs: Range
    interventions: Range
    reactions: Range
    write_faults: Range
    """Faults that hit a write, if it comes to that."""
    timed_faults: Range
    """Faults that begin at a time: so many always happen."""
    attempts_scripted: int
    """At most so many attempts of a job are drawn; those after them succeed."""
    succeeding: float
    """Share of the drawn attempts that succeed."""
    longest_seconds: float
    """The longest run of a worker that ends by itself."""
    latest_seconds: float
    """The longest that a request is late, or its sender frozen."""


SHORT = Scale(
    "short", horizon_seconds=25.0, quiet_seconds=21.0, jobs=(20, 20), interventions=(3, 6), reactions=(2, 4),
    write_faults=(3, 7), timed_faults=(5, 6), attempts_scripted=2, succeeding=0.8, longest_seconds=8.0,
    latest_seconds=28.0,
)  # fmt: skip
"""What `make simulate` runs by the thousand: just above what a run must have, see WRITES_AT_LEAST."""
LONG = Scale(
    "long", horizon_seconds=45.0, quiet_seconds=25.0, jobs=(20, 22), interventions=(3, 9), reactions=(2, 5),
    write_faults=(3, 9), timed_faults=(5, 7), attempts_scripted=4, succeeding=0.7, longest_seconds=14.0,
    latest_seconds=45.0,
)  # fmt: skip
"""Twice the writes: retries, probes for capacity and lost nodes go on for longer. The planted bugs' seeds are these."""
SCALES = {scale.name: scale for scale in (SHORT, LONG)}
WRITES_AT_LEAST = 200
"""A run with fewer writes goes on with further submissions."""
