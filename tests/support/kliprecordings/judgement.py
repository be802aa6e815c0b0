"""Which highlights were planted, and which moments were found."""

from collections.abc import Sequence
from dataclasses import dataclass

from kliprecordings.script import Moment

SLACK_SECONDS = 5.0
"""A highlight's peak may lie this far outside of the moment."""


@dataclass(frozen=True)
class Judgement:
    """Counts of one recording or of several."""

    moments: int = 0
    found: int = 0
    highlights: int = 0
    false: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Judgement") -> "Judgement":
        return Judgement(
            self.moments + other.moments,
            self.found + other.found,
            self.highlights + other.highlights,
            self.false + other.false,
            self.seconds + other.seconds,
        )

    @property
    def recall(self) -> float:
        """Share of the moments that were found; 1 where there are none."""
        return self.found / self.moments if self.moments else 1.0

    @property
    def precision(self) -> float:
        """Share of the highlights that were planted; 1 where there are none."""
        return 1.0 - self.false / self.highlights if self.highlights else 1.0

    @property
    def false_per_hour(self) -> float:
        """False highlights per hour."""
        return 3600.0 * self.false / self.seconds if self.seconds else 0.0


def judge(moments: Sequence[Moment], peaks_seconds: Sequence[float], seconds: float) -> Judgement:
    """Each moment takes one highlight at most, so a second one for the same moment is false."""
    left = list(moments)
    false = 0
    for peak in peaks_seconds:
        near = [m for m in left if m.start_seconds - SLACK_SECONDS <= peak <= m.end_seconds + SLACK_SECONDS]
        if near:
            left.remove(near[0])
        else:
            false += 1
    return Judgement(len(moments), len(moments) - len(left), len(peaks_seconds), false, seconds)
