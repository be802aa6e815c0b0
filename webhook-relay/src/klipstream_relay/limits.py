"""How much the relay does at once, and for how long it remembers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is on its way at once, and how long what is over is kept."""

    per_endpoint: int = 4
    together: int = 256
    """Beyond half of it an endpoint has one delivery on its way at most, so that slow ones leave room for others."""
    keep_seconds: float = 604_800.0
    """How long a delivery that ended stays in the ledger, for `list` and `redeliver`."""
