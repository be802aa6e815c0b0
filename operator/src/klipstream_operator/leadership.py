"""Who may act: what every part that writes asks before it sends."""

from collections.abc import Callable

Fence = Callable[[], None]
"""Raises when the Lease may have run out; called immediately before a request is sent."""
