"""The goals of the admission suite: each with its bound, the figure of this run, and whether it was met (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A promise about speed or cost; `most` or `least` bounds it, whichever is given."""

    name: str
    figure: float | None
    """None where it was not measured in this run."""
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps to its bound; None where nothing was measured."""
        if self.figure is None:
            return None
        return (self.most is None or self.figure <= self.most) and (self.least is None or self.figure >= self.least)

    def line(self) -> str:
        """The goal in words: bound, figure, met or missed."""
        bound = f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}"
        said = {True: "met", False: "missed", None: "not measured"}[self.met]
        figure = "-" if self.figure is None else f"{self.figure:.3g}"
        return f"{self.name:<70}{bound:>14}{self.unit:>10}{figure:>10}  {said}"


def lines(goals: Sequence[Goal]) -> list[str]:
    """All goals, one a line."""
    return [goal.line() for goal in goals]
