"""A run beside a stored one: only ratios to what the same run did with bare Jobs are compared (pure).

Absolute figures of two machines, or of one machine on two days, say nothing of each other.
"""

import json
from collections.abc import Mapping
from pathlib import Path

WORSE = 1.2
"""A ratio that is this many times worse than the stored one is pointed out."""


def read(file: Path) -> dict[str, float]:
    """The stored ratios; none where nothing was stored yet. Raises ValueError for a file that is no such table."""
    if not file.exists():
        return {}
    stored = json.loads(file.read_text())
    if not isinstance(stored, dict) or not all(isinstance(value, int | float) for value in stored.values()):
        raise ValueError(f"{file} holds no table of ratios: remove it, or store it anew with --store")
    return {str(name): float(value) for name, value in stored.items()}


def write(file: Path, ratios: Mapping[str, float]) -> None:
    """Store the ratios of a run."""
    file.write_text(json.dumps({name: round(value, 4) for name, value in ratios.items()}, indent=1) + "\n")


def lines(ratios: Mapping[str, float], stored: Mapping[str, float]) -> list[str]:
    """Each ratio beside the stored one. Smaller is better for all of them."""
    table = [f"{'ratio to bare Jobs in the same run':<58}{'now':>8}{'stored':>8}{'change':>8}"]
    for name, now in ratios.items():
        before = stored.get(name)
        change = "" if before is None or before <= 0 else f"{now / before - 1:>+8.0%}"
        worse = before is not None and before > 0 and now > WORSE * before
        before_said = f"{before:>8.3f}" if before is not None else f"{'-':>8}"
        table.append(f"{name:<58}{now:>8.3f}{before_said}{change}{'  WORSE' if worse else ''}")
    return table
