"""Ports for servers that are started by themselves, killed, and started again: nobody else gets them meanwhile."""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

OWNERS = Path(tempfile.gettempdir()) / "klipstream-ports"
"""A file of which each byte stands for a port: who has locked it owns the port. Nothing is ever written to it."""

_given: set[int] = set()


def free_port(first: int, last: int) -> int:
    """A port in a range that nobody listens on, and that no other process of ours is given while this one lives: a
    server that is killed and started again finds it as it left it. The kernel takes the locks of who is killed.

    Outgoing connections are given ports from 32768 on, so a range should end before that.
    """
    chance = random.SystemRandom()
    while True:
        port = chance.randint(first, last)
        if port not in _given and _own(port) and _nobody_listens(port):
            _given.add(port)
            return port


@cache
def _owners() -> int:
    """Opened once and never closed: with any of its descriptors a process would lose all its locks."""
    return os.open(OWNERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _own(port: int) -> bool:
    try:
        fcntl.lockf(_owners(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
