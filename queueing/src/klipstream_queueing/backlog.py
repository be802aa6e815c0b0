"""The accepted jobs of one queue that wait for a slot, in starting order."""

import heapq
from collections.abc import Callable, Iterator

from klipstream_queueing.order import Rank

DEFAULT_LANE = "default"


def every_lane(_: str) -> bool:
    """No lane is closed."""
    return True


class Backlog:
    """A keyed heap of ranks: put, move and remove in O(log n) amortised, the first in O(lanes).

    Jobs of one size share a lane. A lane can be passed over while the cluster has no room for its size; between
    the lanes the order is that of the ranks.

    A changed or removed rank stays in its heap until it comes up, where `_entries` tells that it is stale.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, list[Rank]] = {}
        self._entries: dict[str, tuple[Rank, str]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, rank: Rank, lane: str = DEFAULT_LANE) -> bool:
        """Add a job, or move it to its new place; False when it is there already."""
        if self._entries.get(rank.uid) == (rank, lane):
            return False
        self._entries[rank.uid] = (rank, lane)
        heap = self._heaps.setdefault(lane, [])
        heapq.heappush(heap, rank)
        if len(heap) > 64 and len(heap) > 2 * len(self._entries):
            self._heaps[lane] = sorted(rank for rank, other in self._entries.values() if other == lane)
        return True

    def remove(self, uid: str) -> None:
        """Take a job out; nothing happens when it is not there."""
        self._entries.pop(uid, None)

    def peek(self, is_open: Callable[[str], bool] = every_lane) -> tuple[Rank, str] | None:
        """The job that starts next among those of the open lanes, and its lane; None where none waits."""
        heads = [(head, lane) for lane in list(self._heaps) if (head := self._head(lane)) is not None and is_open(lane)]
        return min(heads, default=None)

    def _head(self, lane: str) -> Rank | None:
        """The first rank of a lane that is not stale; an empty lane is dropped."""
        heap = self._heaps[lane]
        while heap:
            if self._entries.get(heap[0].uid) == (heap[0], lane):
                return heap[0]
            heapq.heappop(heap)
        del self._heaps[lane]
        return None

    def first(self, count: int) -> list[Rank]:
        """The jobs that start next, first one first, without taking them out; O(count log count), however many wait.

        A heap's next entry is one of the children of those that came before it. Stale ones are stepped over.
        """
        found: list[Rank] = []
        frontier = [(heap[0], lane, 0) for lane, heap in self._heaps.items() if heap]
        heapq.heapify(frontier)
        while frontier and len(found) < count:
            rank, lane, at = heapq.heappop(frontier)
            heap = self._heaps[lane]
            for below in (2 * at + 1, 2 * at + 2):
                if below < len(heap):
                    heapq.heappush(frontier, (heap[below], lane, below))
            # A rank that was taken out and put back is in its heap twice.
            if self._entries.get(rank.uid) == (rank, lane) and (not found or found[-1] != rank):
                found.append(rank)
        return found

    def position(self, uid: str) -> int:
        """1 for the job that starts next. Raises KeyError for a job that does not wait. O(n)."""
        mine, _ = self._entries[uid]
        return 1 + sum(rank < mine for rank, _ in self._entries.values())

    def __iter__(self) -> Iterator[Rank]:
        return iter(sorted(rank for rank, _ in self._entries.values()))
