"""Ports for servers that a test starts as processes, and starts again: nobody else gets them meanwhile."""

from klipcluster import ports

FIRST, LAST = 16_384, 32_767
"""Outgoing connections are given ports from 32768 on, and so none of these."""


def free_port() -> int:
    """A port that nobody listens on, and that no other test process of this machine is given while this one lives."""
    return ports.free_port(FIRST, LAST)
