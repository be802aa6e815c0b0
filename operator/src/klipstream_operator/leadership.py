"""Who may act: what every part that writes asks before it sends."""

from collections.abc import Callable

from klipstream_kube import Unreachable

Fence = Callable[[], None]
"""Raises when the Lease may have run out; called immediately before a request is sent."""


def sent_once(*checks: Fence) -> Fence:
    """A fence for one send that every check allows, asked in their order.

    A client that was told to come back later (429) would send the same bytes again, long after they were decided;
    Unreachable has the caller decide anew, at the time that was asked for.
    """
    sent = False

    def allow() -> None:
        nonlocal sent
        if sent:
            raise Unreachable("not sent again as it was decided before the API server asked to wait")
        for check in checks:
            check()
        sent = True

    return allow


def only_while(holds: Callable[[], bool]) -> Fence:
    """A check for what was decided on something else than the object that is written; Unreachable has the caller decide
    anew."""

    def check() -> None:
        if not holds():
            raise Unreachable("not sent, since what decided it has changed")

    return check
