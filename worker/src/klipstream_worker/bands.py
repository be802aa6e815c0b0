"""How far the whole is when a stage is so and so far: each stage has a band of the overall percentage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Union

Band = tuple[float, float]
Weights = Union[Mapping[str, float], Sequence[tuple[str, float]]]

# What the guide asks for.
STANDARD_BANDS: Mapping[str, Band] = {
    "Downloading": (0.0, 20.0),
    "Transcribing": (20.0, 40.0),
    "Analyzing": (40.0, 80.0),
    "Finding Highlights": (80.0, 95.0),
}
COMPLETED = "Completed"
MOST_BEFORE_THE_END = 99.0
"""100 says that the analysis is done."""
STAGE_CHARACTERS = 64


def bands_of(weights: Weights | None) -> dict[str, Band]:
    """The bands of own stages in their order, wide as they weigh; the standard ones where there are none.

    A weight is any positive number: what a stage takes compared with the others. Raises ValueError.
    """
    if weights is None:
        return dict(STANDARD_BANDS)
    pairs = list(weights.items()) if isinstance(weights, Mapping) else list(weights)
    whole = float(sum(weight for _, weight in pairs))
    bands: dict[str, Band] = {}
    low = 0.0
    for name, weight in pairs:
        if not 0 < weight < float("inf") or not name.strip() or len(name) > STAGE_CHARACTERS or name in bands:
            raise ValueError(
                f"stage {name!r} with weight {weight}: a name of its own of at most {STAGE_CHARACTERS} characters"
                " and a positive weight are needed"
            )
        high = low + weight / whole * MOST_BEFORE_THE_END
        bands[name] = (low, high)
        low = high
    return bands


def within(band: Band, share: float) -> float:
    """The overall percentage where a stage is done to a share of 0 to 1; what is outside counts as the nearer end."""
    low, high = band
    return low + (high - low) * min(1.0, max(0.0, share))
