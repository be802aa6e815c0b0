"""What a check of doctor says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """ok, warning, failed or skipped, with what was seen and what to do."""

    check: str
    state: str
    message: str
    todo: str = ""
