"""Kills, freezes and orderly stops of replicas at random moments."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

from klipsweep.replica import LEASE_SECONDS, Replica

SHORT_FREEZE_SECONDS = (0.2, 0.4 * LEASE_SECONDS)
"""Shorter than what a leader may miss of its Lease."""
LONG_FREEZE_SECONDS = (1.1 * LEASE_SECONDS, 2 * LEASE_SECONDS)


class Chaos:
    """Strikes one of the replicas that may be struck, every so often."""

    def __init__(
        self, replicas: Sequence[Replica], may_end: Callable[[Replica], bool], dice: random.Random, every_seconds: float
    ) -> None:
        self._replicas, self._may_end, self._dice, self._every_seconds = replicas, may_end, dice, every_seconds
        self.strikes: Counter[str] = Counter()

    async def run(self) -> None:
        """Never returns; a frozen replica goes on when this is cancelled."""
        while True:
            await asyncio.sleep(self._every_seconds * self._dice.uniform(0.5, 1.5))
            replica = self._dice.choice(self._replicas)
            blow = self._dice.choice([self._kill, self._kill, self._stop, self._freeze_long, self._freeze])
            if not self._may_end(replica):
                blow = self._freeze
            await blow(replica)

    async def _kill(self, replica: Replica) -> None:
        self.strikes["killed"] += 1
        await replica.kill()
        await asyncio.sleep(self._dice.uniform(0, 2))
        await replica.start()

    async def _stop(self, replica: Replica) -> None:
        self.strikes["stopped"] += 1
        await replica.stop()
        await replica.start()

    async def _freeze(self, replica: Replica) -> None:
        self.strikes["frozen"] += 1
        await self._frozen(replica, self._dice.uniform(*SHORT_FREEZE_SECONDS))

    async def _freeze_long(self, replica: Replica) -> None:
        self.strikes["frozen beyond the Lease"] += 1
        await self._frozen(replica, self._dice.uniform(*LONG_FREEZE_SECONDS))

    async def _frozen(self, replica: Replica, seconds: float) -> None:
        replica.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            replica.thaw()
