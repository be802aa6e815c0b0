"""Liveness: what a restart of this process would mend. An API server that is away is none of it."""

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

RENEWAL_GRACE_SECONDS = 10.0
"""A leader ends by itself before its Lease runs out; one that did not by then never will."""
ENDING_SECONDS = 15.0
"""Within that the process ends: hands over, writes what it promised, closes its sockets."""
NOT_ENDED = 70
"""Exit code (EX_SOFTWARE) of a process that did not end by itself."""


@dataclass(slots=True)
class Health:
    """What the liveness probe is answered; that it is answered at all shows that the event loop runs."""

    lease_seconds: float
    renewal_age_seconds: Callable[[], float]
    """Since the Lease was renewed; NaN while it is not held."""
    linger_seconds: float = 0.0
    """How long progress is still taken while the process ends."""
    _ending_since: float | None = None

    def problems(self) -> list[str]:
        """Why this process should be killed; empty while it should not."""
        found = []
        age = self.renewal_age_seconds()
        if not math.isnan(age) and age > self.lease_seconds + RENEWAL_GRACE_SECONDS:
            found.append(f"the Lease was not renewed for {age:.0f} s and the process did not end")
        if self._ending_since is not None:
            ending_seconds = time.monotonic() - self._ending_since
            if ending_seconds > ENDING_SECONDS + self.linger_seconds:
                found.append(f"the process has been ending for {ending_seconds:.0f} s")
        return found

    def ends(self) -> None:
        """The process is about to end. It is made to, whatever holds it up: a thread, or a task that cannot be stopped.

        A leader that lost its Lease is not killed by anybody else while its event loop still answers.
        """
        if self._ending_since is not None:
            return
        self._ending_since = time.monotonic()
        timer = threading.Timer(ENDING_SECONDS + self.linger_seconds, os._exit, (NOT_ENDED,))
        timer.daemon = True
        timer.start()
