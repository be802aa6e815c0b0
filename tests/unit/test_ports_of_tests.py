"""Ports of servers that tests start belong to one test process at a time."""

import subprocess
import sys
from pathlib import Path

from klipfake import ports

PICK = (
    "import sys; from klipfake import ports; ports.FIRST, ports.LAST = map(int, sys.argv[1:]); print(ports.free_port())"
)


def picked_elsewhere(first: int, last: int) -> int:
    support = Path(ports.__file__).parents[1]
    told = subprocess.run(
        [sys.executable, "-c", PICK, str(first), str(last)], check=True, capture_output=True, text=True, cwd=support
    )
    return int(told.stdout)


def test_a_port_that_was_given_is_given_to_nobody_else_and_not_again(monkeypatch) -> None:
    port = ports.free_port()
    low, high = max(ports.FIRST, port - 4), port + 4
    assert port not in {picked_elsewhere(low, high) for _ in range(8)}
    monkeypatch.setattr(ports, "FIRST", low)
    monkeypatch.setattr(ports, "LAST", high)
    assert ports.free_port() != port
