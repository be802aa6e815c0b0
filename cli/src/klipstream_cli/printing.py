"""What goes to the terminal: aligned tables, JSON, YAML, names; colour only where a person looks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

Styler = Callable[[str, str], str]
_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "grey": "90",
          "bold": "1", "bold red": "1;31"}  # fmt: skip
_OURS = re.compile("(\x1b\\[(?:0|" + "|".join(_CODES.values()) + ")m)")
PHASE_COLOURS = {
    "Queued": "cyan", "Starting": "blue", "Running": "blue", "BackingOff": "yellow", "Succeeded": "green",
    "Failed": "red", "Cancelled": "grey", "Rejected": "magenta",
}  # fmt: skip
PRIORITY_COLOURS = {"URGENT": "bold red", "HIGH": "yellow", "LOW": "grey"}
STATE_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "grey", "Paused": "yellow",
                 "Draining": "magenta", "Running": "green"}  # fmt: skip


def coloured(stream: TextIO | None = None) -> bool:
    """Whether the stream takes colours: a terminal, without NO_COLOR (https://no-color.org) and no dumb one."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, colour: str | None, on: bool) -> str:
    """The text in a colour where colours are on."""
    code = _CODES.get(colour or "")
    return f"\x1b[{code}m{safe(text)}\x1b[0m" if on and code else text


def bar(percentage: float, width: int = 30) -> str:
    """A bar of characters that every terminal has."""
    filled = min(width, max(0, round(percentage / 100 * width)))
    return "█" * filled + "░" * (width - filled)


def safe(text: str) -> str:
    """Text of others on one line: control characters could steer the terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    headers: bool = True,
    colours: dict[str, dict[str, str]] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Columns as kubectl aligns them, three spaces apart; `colours` maps column and text to a colour."""
    out = stream or sys.stdout
    lines = [tuple(header)] if headers else []
    cells = [tuple(safe(cell) for cell in row) for row in rows]
    lines += cells
    if not lines:
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(widths) - 1
    on = coloured(out)
    by_column = [(colours or {}).get(name, {}) for name in header]
    written = []
    for number, line in enumerate(lines):
        is_header = headers and number == 0
        if not on or is_header:
            text = "   ".join(cell if index == last else cell.ljust(widths[index]) for index, cell in enumerate(line))
            written.append(paint(text.rstrip(), "bold", on and is_header))
            continue
        parts = []
        for index, cell in enumerate(line):
            padding = "" if index == last else " " * (widths[index] - len(cell))
            parts.append(paint(cell, by_column[index].get(cell), True) + padding)
        written.append("   ".join(parts).rstrip())
    out.write("\n".join(written) + "\n")


def document(value: Any, output: str, stream: TextIO | None = None) -> None:
    """A value as JSON or YAML."""
    out = stream or sys.stdout
    whole = (out.encoding or "utf-8").lower().replace("-", "") == "utf8"
    if output == "yaml":
        from klipstream_cli.yaml_text import dump

        out.write(dump(value, ascii_only=not whole))
        return
    if not whole:  # nothing may be lost for want of a character
        import json

        out.write(json.dumps(value, indent=2) + "\n")
        return
    import orjson

    out.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def objects(items: list[dict[str, Any]], output: str, singular: str, *, one: bool = False) -> None:
    """Objects of the API server as json, yaml or name; `one`: the object itself instead of a List."""
    if output == "name":
        for item in items:
            sys.stdout.write(f"{singular}/{item['metadata']['name']}\n")
    elif one:
        document(items[0], output)
    else:
        document({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}, output)


def say(text: str) -> None:
    """To standard output, at once where a person looks, with nothing in it that steers the terminal but our colours.

    Everything goes through here but what is for programs, tables (which see to it themselves) and workers' logs.
    """
    sys.stdout.write(_only_our_colours(text))
    if sys.stdout.isatty():
        sys.stdout.flush()


def note(text: str) -> None:
    """A line beside the answer, to stderr, so that pipes get the answer alone."""
    sys.stderr.write(f"{_only_our_colours(text)}\n")


def _only_our_colours(text: str) -> str:
    return "".join(part if number % 2 else "\n".join(map(safe, part.split("\n")))
                   for number, part in enumerate(_OURS.split(text)))  # fmt: skip
