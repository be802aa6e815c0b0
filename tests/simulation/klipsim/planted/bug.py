"""What a planted bug is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from klipsim.exchange import exchanged

Swaps = Iterable[AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake that somebody could make, and how it shows."""

    name: str
    """What is broken."""
    rules: tuple[str, ...]
    """The rules of the judge of which at least one is broken, or what else shows it (see `rule_of`)."""
    seed: int | None
    """A run that shows it; None where none was found, see klipsim.planted."""
    swaps: Callable[[], Swaps]
    """What of the operator is exchanged; made anew for each run, since some remember things."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The operator has the bug within."""
        with ExitStack() as stack:
            for swap in self.swaps():
                stack.enter_context(swap)
            yield


def swap(owner: object, name: str, value: object) -> AbstractContextManager[Any]:
    """Exchange an attribute of one of the operator's classes or modules, which has to be there."""
    return exchanged((owner, name, value))


def rule_of(violation: str) -> str:
    """The judge's rule of a violation; "died", "stuck" and so on for what is seen without the judge."""
    head = violation.split(" at ")[0].split(":")[0]
    return "died" if " died" in head else head
