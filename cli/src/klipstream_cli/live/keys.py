"""Keys of a terminal, one at a time."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Self

_SEQUENCES = {b"[A": "up", b"[B": "down", b"[5~": "page-up", b"[6~": "page-down", b"[H": "home", b"[F": "end",
              b"OA": "up", b"OB": "down"}  # fmt: skip
_NAMES = {b"\t": "tab", b"\r": "enter", b"\n": "enter", b"\x03": "ctrl-c", b"\x7f": "backspace"}


class Keys:
    """Keys without echo while the block lasts; the terminal is put back however it ends."""

    def __enter__(self) -> Self:
        self._file = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def next(self, seconds: float) -> str | None:
        """The next key: a character, or up, down, page-up, page-down, home, end, tab, enter, escape; None: no key.

        "closed" when the terminal is gone.
        """
        ready, _, _ = select.select([self._file], [], [], seconds)
        if not ready:
            return None
        first = os.read(self._file, 1)
        if not first:
            return "closed"
        if first != b"\x1b":
            return _NAMES.get(first) or first.decode("utf-8", "replace")
        rest = b""
        # The bytes of an arrow key come at once; a lone escape is followed by nothing.
        while len(rest) < 3 and rest not in _SEQUENCES and select.select([self._file], [], [], 0.05)[0]:
            rest += os.read(self._file, 1)
        return _SEQUENCES.get(rest, "escape")
