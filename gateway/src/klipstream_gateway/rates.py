"""Rate limits: a sliding minute for each caller and class of requests, in memory or in a store that replicas share."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.routes import RateClass

WINDOW_SECONDS = 60
WRONG_CREDENTIALS = 30
"""Wrong credentials from one address in a minute, before the next ones are not even looked at."""


@dataclass(frozen=True, slots=True)
class Count:
    """Where a caller stands after a request."""

    policy: str
    limit: int
    remaining: int
    reset_seconds: int
    allowed: bool

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), and Retry-After once refused."""
        headers = {
            "RateLimit-Policy": f'"{self.policy}";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_seconds}',
        }
        return headers if self.allowed else headers | {"Retry-After": str(self.reset_seconds)}


class RateLimiter:
    """Counts requests. Raises ValueError for a storage that does not exist."""

    def __init__(self, rates: Mapping[RateClass, int], storage: str) -> None:
        try:
            self._strategy = SlidingWindowCounterRateLimiter(storage_from_string(storage))
        except ConfigurationError as error:
            raise ValueError(f"no such storage of rate limits: {storage!r}: {error}") from error
        self._items = {kind: RateLimitItemPerMinute(rate, namespace=kind.value) for kind, rate in rates.items()}
        self._wrong = RateLimitItemPerMinute(WRONG_CREDENTIALS, namespace="wrong-credentials")

    async def count(self, kind: RateClass, caller: str) -> Count:
        """Count a request. Raises Refused (rate-limited) once there were too many."""
        count = await self._hit(self._items[kind], kind.value, caller)
        if not count.allowed:
            raise Refused(
                Problem.RATE_LIMITED,
                f"{count.limit} requests of this kind ({kind.value}) are taken in a minute."
                f" Come back in {count.reset_seconds} s.",
                count.headers,
            )
        return count

    async def wrong_credentials(self, address: str) -> None:
        """Count wrong credentials."""
        await self._strategy.hit(self._wrong, address)

    async def believes(self, address: str) -> None:
        """Raises Refused (rate-limited) where too many wrong credentials came from an address."""
        if not await self._strategy.test(self._wrong, address):
            stats = await self._strategy.get_window_stats(self._wrong, address)
            seconds = _seconds_until(stats.reset_time)
            raise Refused(
                Problem.RATE_LIMITED,
                f"Too many wrong credentials came from {address}. Come back in {seconds} s.",
                {"Retry-After": str(seconds)},
            )

    async def _hit(self, item: RateLimitItemPerMinute, policy: str, caller: str) -> Count:
        allowed = await self._strategy.hit(item, caller)
        stats = await self._strategy.get_window_stats(item, caller)
        return Count(policy, item.amount, max(0, stats.remaining), _seconds_until(stats.reset_time), allowed)


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))
