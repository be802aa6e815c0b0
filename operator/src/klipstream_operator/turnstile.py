"""Keeps acceptances and reservations of a queue from overtaking each other on their way to the API server.

Both are requests under way at the same time. Without this, a reservation could be committed just after the
acceptance of a job that comes first, whose answer had not arrived yet: an inversion for anyone who reads the log.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from klipstream_operator.store import QueueKey
from klipstream_queueing.order import Rank


@dataclass(slots=True)
class _Reservation:
    last: Rank
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Turnstile:
    """Who is on the way into a backlog, and which reservation is being written; one per operator."""

    _arriving: defaultdict[QueueKey, list[Rank]] = field(default_factory=lambda: defaultdict(list))
    """A job may be there twice: while the answer to its acceptance is late, its first attempt may come and go."""
    _reserving: dict[QueueKey, _Reservation] = field(default_factory=dict)

    @asynccontextmanager
    async def arriving(self, key: QueueKey, rank: Rank) -> AsyncIterator[None]:
        """Around the write that puts a job into a backlog; waits while a job that it outranks is being reserved.

        Nobody else that it outranks is reserved from now on, so that it waits once.
        """
        self._arriving[key].append(rank)
        try:
            while (reservation := self._reserving.get(key)) is not None and rank < reservation.last:
                await reservation.done.wait()
        except BaseException:
            self._arriving[key].remove(rank)  # nothing was sent
            raise
        with _when_answered(lambda: self._arriving[key].remove(rank)):
            yield

    def allowed(self, key: QueueKey, picked: Sequence[Rank]) -> list[Rank]:
        """Those of the picked jobs that no job on its way comes before."""
        first = min(self._arriving[key], default=None)
        return [rank for rank in picked if first is None or rank < first]

    @contextmanager
    def reserving(self, key: QueueKey, picked: Sequence[Rank]) -> Iterator[None]:
        """Around the write that reserves slots; one at a time per queue."""
        if not picked:
            yield
            return
        reservation = self._reserving[key] = _Reservation(max(picked))

        def open_again() -> None:
            del self._reserving[key]
            reservation.done.set()

        with _when_answered(open_again):
            yield


@contextmanager
def _when_answered(open_again: Callable[[], None]) -> Iterator[None]:
    """Around a write: it lets others pass again, unless it was cancelled and so nobody knows whether it comes in."""
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException:
        open_again()
        raise
    open_again()
