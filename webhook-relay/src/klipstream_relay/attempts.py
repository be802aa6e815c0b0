"""What follows a try: delivered, another try later, or given up (pure)."""

from dataclasses import dataclass
from typing import Protocol

from klipstream_relay.deliveries import Delivery, State

OF_THE_JOB = frozenset({"SealedRefused", "JobGone"})
"""Reasons that concern a single job, and say nothing of the endpoint that others share with it."""


class Result(Protocol):
    """What is needed of a sender's outcome."""

    @property
    def delivered(self) -> bool: ...
    @property
    def code(self) -> int | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def retry_after_seconds(self) -> float | None: ...
    @property
    def disable(self) -> bool: ...
    @property
    def retryable(self) -> bool: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long a delivery is tried (guide: 3 attempts with exponential backoff)."""

    attempts: int = 3
    first_delay_seconds: float = 10.0
    factor: float = 4.0
    longest_delay_seconds: float = 3600.0
    give_up_seconds: float = 86_400.0
    """A delivery that is still pending after so long is given up; as long as a purge waits for an announcement."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery after a try."""

    state: State
    tries: int
    due: float
    """When a pending one is tried again, in Unix seconds."""


def judge(delivery: Delivery, result: Result, counts: bool, policy: RetryPolicy, now: float, jitter: float) -> Verdict:
    """What follows. `counts` is false for the probe of an open circuit: its failure is the endpoint's, not the
    delivery's, so that an endpoint that is down for an hour costs no delivery. `jitter` is 0.5 to 1.
    """
    tries = delivery.tries + 1
    if result.delivered:
        return Verdict(State.DELIVERED, tries, now)
    if not result.retryable:
        return Verdict(State.DEAD, tries, now)
    if now >= delivery.created + policy.give_up_seconds:
        return Verdict(State.DEAD, tries, now)
    if not counts:
        tries = delivery.tries
    elif tries >= policy.attempts:
        return Verdict(State.DEAD, tries, now)
    delay_seconds = policy.first_delay_seconds * policy.factor ** max(0, tries - 1)
    delay_seconds = min(policy.longest_delay_seconds, delay_seconds) * jitter
    asked_seconds = min(policy.longest_delay_seconds, result.retry_after_seconds or 0.0)
    return Verdict(State.PENDING, tries, now + max(delay_seconds, asked_seconds))
