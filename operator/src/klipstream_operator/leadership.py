"""Who may act: what every part that writes asks before it sends."""

from collections.abc import Callable
from dataclasses import dataclass

Fence = Callable[[], None]
"""Raises when the Lease may have run out; called immediately before a request is sent."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to write, as long as `fence` does not raise."""

    fence: Fence
    identity: str
