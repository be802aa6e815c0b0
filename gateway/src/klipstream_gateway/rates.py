"""Rate limits: a sliding minute for each caller and class of requests, in memory or in a Redis that replicas share.

A Redis that does not answer takes the limits away from nobody and the API from nobody: each replica counts by itself
until it answers again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from klipstream_gateway.addresses import network_of
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.routes import RateClass

log = logging.getLogger(__name__)
MEMORY = "memory"
WINDOW_SECONDS = 60
WRONG_CREDENTIALS = 30
"""Wrong credentials from one address in a minute, before the next ones are not even looked at."""
ANSWER_SECONDS = 2.0
"""How long Redis may take for one count."""
AGAIN_SECONDS = 5.0
"""How long a Redis that did not answer is left alone."""

T = TypeVar("T")


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
    """Counts requests. `storage` is "memory", or the URL of a Redis; `authority` (PEM) signed its certificate, where no
    authority of the system did. The settings have looked at both."""

    def __init__(self, rates: Mapping[RateClass, int], storage: str, authority: str | None = None) -> None:
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = _redis(storage, authority) if storage != MEMORY else None
        self._shared_from = float("-inf")
        self._items = {kind: RateLimitItemPerMinute(rate, namespace=kind.value) for kind, rate in rates.items()}
        self._wrong = RateLimitItemPerMinute(WRONG_CREDENTIALS, namespace="wrong-credentials")

    @property
    def alone(self) -> bool:
        """Whether this replica counts by itself although it should not."""
        return self._shared is not None and time.monotonic() < self._shared_from

    async def count(self, kind: RateClass, caller: str) -> Count:
        """Count a request. Raises Refused (rate-limited) once there were too many."""
        count = await self._counted(lambda strategy: _hit(strategy, self._items[kind], kind.value, caller))
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
        await self._counted(lambda strategy: strategy.hit(self._wrong, network_of(address)))

    async def believes(self, address: str) -> None:
        """Raises Refused (rate-limited) where too many wrong credentials came from an address, or from its network."""
        network = network_of(address)
        if not await self._counted(lambda strategy: strategy.test(self._wrong, network)):
            stats = await self._counted(lambda strategy: strategy.get_window_stats(self._wrong, network))
            seconds = _seconds_until(stats.reset_time)
            raise Refused(
                Problem.RATE_LIMITED,
                f"Too many wrong credentials came from {network}. Come back in {seconds} s.",
                {"Retry-After": str(seconds)},
            )

    async def _counted(self, ask: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]) -> T:
        if self._shared is not None and not self.alone:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await ask(self._shared)
            except (StorageError, TimeoutError) as error:
                self._shared_from = time.monotonic() + AGAIN_SECONDS
                # Its message may hold the address, never the password.
                why = str(error) or "no answer in time"
                if "CERTIFICATE_VERIFY_FAILED" in why:
                    why += (
                        " Give the certificate of the authority that signed it in KLIPSTREAM_RATE_STORAGE_CA,"
                        " and in the URL a host that it is for."
                    )
                log.warning("Redis does not count requests, so this replica does: %s", why)
        return await ask(self._own)


def _redis(url: str, authority: str | None) -> SlidingWindowCounterRateLimiter:
    trust = {"ssl_ca_data": authority} if authority is not None else {}
    storage = RedisStorage(f"async+{url}", wrap_exceptions=True, implementation="redispy", **trust)
    return SlidingWindowCounterRateLimiter(storage)


async def _hit(strategy: SlidingWindowCounterRateLimiter, item: RateLimitItem, policy: str, caller: str) -> Count:
    allowed = await strategy.hit(item, caller)
    stats = await strategy.get_window_stats(item, caller)
    return Count(policy, item.amount, max(0, stats.remaining), _seconds_until(stats.reset_time), allowed)


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))
