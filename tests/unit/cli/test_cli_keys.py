"""Keys as terminals send them, through a real one."""

import os
import pty
import sys
from collections.abc import Iterator

import pytest

from klipstream_cli.live.keys import Keys


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that standard input is."""
    primary, secondary = pty.openpty()
    with os.fdopen(secondary) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield primary
    os.close(primary)


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[H\x1bOH\x1b[1~\x1b[7~", ["home"] * 4),
        (b"\x1b[F\x1bOF\x1b[4~\x1b[8~", ["end"] * 4),
        (b"\x1b[5~\x1b[6~", ["page-up", "page-down"]),
        (b"\x1b[3~j", [None, "j"]),
        (b"\x1b[1;5Cj", [None, "j"]),
        (b"\x1bOPj", [None, "j"]),
        (b"\x1b[15~\x1b[[Aj", [None, None, "j"]),
        (b"\x1bxj", [None, "j"]),
        (b"\x1b", ["escape"]),
        (b"\t\r\x7fq", ["tab", "enter", "backspace", "q"]),
    ],
    ids=repr,
)
def test_a_sequence_is_one_key_and_an_unknown_one_none(terminal: int, sent: bytes, keys: list[str | None]) -> None:
    """None of them leaves a rest that counts as keys, and only a lone escape is one."""
    with Keys() as reading:
        os.write(terminal, sent)
        assert [reading.next(10.0) for _ in keys] == keys
        assert reading.next(0.1) is None
