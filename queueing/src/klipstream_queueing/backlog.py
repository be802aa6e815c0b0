"""The accepted jobs of one queue that wait for a slot, in starting order."""

import heapq
from collections.abc import Iterator

from klipstream_queueing.order import Rank


class Backlog:
    """A keyed heap of ranks: put, move and remove in O(log n) amortised, the first in O(1).

    A changed or removed rank stays in the heap until it comes up, where `_ranks` tells that it is stale.
    """

    def __init__(self) -> None:
        self._heap: list[Rank] = []
        self._ranks: dict[str, Rank] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, uid: object) -> bool:
        return uid in self._ranks

    def put(self, rank: Rank) -> None:
        """Add a job, or move it to its new place."""
        if self._ranks.get(rank.uid) == rank:
            return
        self._ranks[rank.uid] = rank
        heapq.heappush(self._heap, rank)
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._ranks):
            self._heap = sorted(self._ranks.values())

    def remove(self, uid: str) -> None:
        """Take a job out; nothing happens when it is not there."""
        self._ranks.pop(uid, None)

    def pop_first(self, count: int) -> list[Rank]:
        """Take out up to `count` jobs, first one first."""
        taken: list[Rank] = []
        while len(taken) < count and self._ranks:
            rank = heapq.heappop(self._heap)
            if self._ranks.get(rank.uid) == rank:
                del self._ranks[rank.uid]
                taken.append(rank)
        return taken

    def first(self, count: int) -> list[Rank]:
        """The jobs that start next, first one first, without taking them out."""
        return heapq.nsmallest(count, self._ranks.values())

    def position(self, uid: str) -> int:
        """1 for the job that starts next. Raises KeyError for a job that does not wait. O(n)."""
        mine = self._ranks[uid]
        return 1 + sum(rank < mine for rank in self._ranks.values())

    def __iter__(self) -> Iterator[Rank]:
        return iter(sorted(self._ranks.values()))
