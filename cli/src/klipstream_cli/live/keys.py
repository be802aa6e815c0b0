"""Keys of a terminal, one at a time."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Self

_SEQUENCES = {
    b"[A": "up", b"[B": "down", b"OA": "up", b"OB": "down", b"[5~": "page-up", b"[6~": "page-down",
    b"[H": "home", b"OH": "home", b"[1~": "home", b"[7~": "home",
    b"[F": "end", b"OF": "end", b"[4~": "end", b"[8~": "end",
}  # fmt: skip
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
        """The next key: a character, or up, down, page-up, page-down, home, end, tab, enter, escape.

        None: no key, or one that means nothing here, such as F1; "closed" when the terminal is gone.
        """
        ready, _, _ = select.select([self._file], [], [], seconds)
        if not ready:
            return None
        first = os.read(self._file, 1)
        if not first:
            return "closed"
        if first != b"\x1b":
            return _NAMES.get(first) or first.decode("utf-8", "replace")
        return self._after_escape()

    def _after_escape(self) -> str | None:
        """The bytes of a key come at once; a lone escape is followed by nothing.

        A sequence (ECMA-48, 5.4) is read to its end, whatever it means, lest its rest count as keys.
        """
        sequence = self._more()
        while sequence == b"\x1b":  # with Alt
            sequence = self._more()
        if not sequence:
            return "escape"
        if sequence not in (b"[", b"O"):
            return None
        while byte := self._more():
            sequence += byte
            if 0x40 <= byte[0] <= 0x7E and sequence != b"[[":  # the console's F1 is [[A
                break
        return _SEQUENCES.get(sequence)

    def _more(self) -> bytes:
        return os.read(self._file, 1) if select.select([self._file], [], [], 0.05)[0] else b""
