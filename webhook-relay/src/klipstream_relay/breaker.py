"""The circuit breaker of an endpoint: pure, the time (in seconds, of any steady clock) is an argument.

Closed: deliveries flow. After `threshold` failures in a row it opens: nothing is sent for a while that doubles each
time. Then it is half open: one delivery probes. Its success closes the circuit, its failure opens it again.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a circuit opens, and for how long."""

    threshold: int = 5
    first_open_seconds: float = 10.0
    longest_open_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """One circuit. A fresh one is closed."""

    failures: int = 0
    """In a row."""
    openings: int = 0
    """In a row, without a success in between; 0 while closed."""
    open_until: float = 0.0
    paused_until: float = 0.0
    """The endpoint asked to be left alone until then (Retry-After)."""

    @property
    def is_open(self) -> bool:
        """Open or half open: the endpoint is taken to be down."""
        return self.openings > 0

    def next_at(self) -> float:
        """From when on something may be sent."""
        return max(self.open_until, self.paused_until)

    def allowance(self, limit: int, now: float) -> int:
        """How many deliveries may be on their way at once."""
        if now < self.next_at():
            return 0
        return 1 if self.is_open else limit

    def succeeded(self) -> "Breaker":
        """A delivery arrived: closed, whatever was before."""
        return Breaker()

    def failed(self, policy: BreakerPolicy, now: float, jitter: float, pause_seconds: float = 0.0) -> "Breaker":
        """A try failed for a reason that lies with the endpoint. `jitter` (0.5 to 1) spreads probes, and
        `pause_seconds` is what the endpoint asked for."""
        failures = self.failures + 1
        paused_until = max(self.paused_until, now + pause_seconds)
        if not self.is_open and failures < policy.threshold:
            return Breaker(failures, 0, 0.0, paused_until)
        if self.is_open and now < self.open_until:
            # Sent before it opened, together with those whose failures opened it.
            return Breaker(failures, self.openings, self.open_until, paused_until)
        seconds = min(policy.longest_open_seconds, policy.first_open_seconds * 2.0 ** min(self.openings, 32))
        return Breaker(failures, self.openings + 1, now + seconds * jitter, paused_until)

    @classmethod
    def known_to_be_down(cls) -> "Breaker":
        """Of an endpoint whose circuit was open when this process began: it is probed first."""
        return cls(openings=1)
