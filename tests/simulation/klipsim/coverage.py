"""Which fault hit which write: the coverage matrix of many runs."""

from __future__ import annotations

from collections import Counter

from klipsim.faults import TIMED_FAULTS, WRITE_FAULTS
from klipsim.rows import ROWS, UNREACHABLE

Hits = Counter[tuple[str, str]]
_NARROW = 6


def missing(hits: Hits) -> list[tuple[str, str]]:
    """The cells that could be hit and were not, by row and kind of fault."""
    cells = [(row, kind) for row in ROWS if row not in UNREACHABLE for kind in WRITE_FAULTS]
    return [cell for cell in [*cells, *(("", kind) for kind in TIMED_FAULTS)] if not hits[cell]]


def matrix(hits: Hits) -> str:
    """The matrix as text: writes down, faults across, how often each met the other; a dash where it cannot."""
    width = max(len(row) for row in ROWS)
    lines = [f"{'':{width}} {_heading(line)}" for line in range(3)]
    for row in ROWS:
        cells = "".join(f"{'-' if row in UNREACHABLE else hits[row, kind] or '.':>{_NARROW}}" for kind in WRITE_FAULTS)
        lines.append(f"{row:{width}} {cells}")
    lines += [f"{row}: {why}" for row, why in UNREACHABLE.items()]
    lines.append("at a time: " + ", ".join(f"{kind} {hits['', kind]}" for kind in TIMED_FAULTS))
    return "\n".join(lines)


def _heading(line: int) -> str:
    words = [kind.split() for kind in WRITE_FAULTS]
    return "".join(f"{(parts[line][: _NARROW - 1] if line < len(parts) else ''):>{_NARROW}}" for parts in words)
