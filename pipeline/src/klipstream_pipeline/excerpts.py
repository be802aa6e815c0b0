"""What was written and said around a moment, for a reader to see what it was about."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from klipstream_pipeline.chat import ChatMessage
from klipstream_pipeline.damping import weights
from klipstream_pipeline.feelings import feeling
from klipstream_pipeline.transcript import Segment

EXAMPLES = 4


@dataclass(frozen=True)
class Excerpts:
    """The chat log and the transcript of a recording; times asked for are those of the picture."""

    messages: Sequence[ChatMessage]
    segments: Sequence[Segment]
    lag_seconds: int

    def written(self, start: float, end: float) -> tuple[ChatMessage, ...]:
        """A few different messages, those with the most feeling first chosen, in the order of time."""
        first = bisect_left(self.messages, start + self.lag_seconds, key=lambda message: message.offset_seconds)
        last = bisect_right(self.messages, end + self.lag_seconds, key=lambda message: message.offset_seconds)
        there = self.messages[first:last]
        counted = weights(there)
        best = sorted(range(len(there)), key=lambda number: -counted[number] * feeling(there[number].text).intensity)
        chosen: dict[str, int] = {}
        for number in best:
            if counted[number] > 0.0 and len(chosen) < EXAMPLES:
                chosen.setdefault(there[number].text.strip().lower(), number)
        return tuple(there[number] for number in sorted(chosen.values()))

    def said(self, start: float, end: float) -> tuple[Segment, ...]:
        """The first few segments that reach into it."""
        there = [each for each in self.segments if each.end_seconds > start and each.start_seconds < end]
        return tuple(there[:EXAMPLES])
