"""The waiting jobs of one queue in order, for those who ask for positions: what is, and what would be."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from klipstream_queueing.order import Rank


class Line:
    """Ranks in order. Changes move memory once, positions are found in O(log n)."""

    def __init__(self) -> None:
        self._ranks: list[Rank] = []
        self._of: dict[str, Rank] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, uid: str) -> bool:
        return uid in self._of

    def put(self, rank: Rank) -> bool:
        """Add a job, or move it; False where it is there already."""
        old = self._of.get(rank.uid)
        if old == rank:
            return False
        if old is not None:
            del self._ranks[bisect_left(self._ranks, old)]
        insort(self._ranks, rank)
        self._of[rank.uid] = rank
        return True

    def remove(self, uid: str) -> bool:
        """Take a job out; False where it is not there."""
        rank = self._of.pop(uid, None)
        if rank is None:
            return False
        del self._ranks[bisect_left(self._ranks, rank)]
        return True

    def rank(self, uid: str) -> Rank | None:
        """The rank of a job; None for one that does not wait."""
        return self._of.get(uid)

    def position(self, uid: str) -> int | None:
        """1 for the job that starts next; None for one that does not wait."""
        rank = self._of.get(uid)
        return None if rank is None else 1 + bisect_left(self._ranks, rank)

    def position_of(self, rank: Rank) -> int:
        """The position that a job would have with this rank, whether it waits with another one or not at all."""
        mine = self._of.get(rank.uid)
        return 1 + bisect_left(self._ranks, rank) - (1 if mine is not None and mine < rank else 0)

    @property
    def ranks(self) -> Sequence[Rank]:
        """All of them, the first one first; not to be changed."""
        return self._ranks
