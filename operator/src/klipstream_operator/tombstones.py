"""Uids of objects that were deleted, so that nothing old brings them back."""

from dataclasses import dataclass, field

KEPT = 20_000
"""More than are deleted in the minutes whose changes an API server keeps (5 by default)."""


@dataclass(slots=True)
class Tombstones:
    """The last uids that were seen to be gone; a uid never comes back.

    What the sweep, or a live read, found gone may be told once more by a watch: one that was cut off for a while is
    resumed from where it was, and repeats what happened since, the deletion last.
    """

    kept: int = KEPT
    _uids: dict[str, None] = field(default_factory=dict)

    def add(self, uid: str) -> None:
        """It is gone."""
        self._uids.pop(uid, None)
        self._uids[uid] = None
        if len(self._uids) > self.kept:
            del self._uids[next(iter(self._uids))]

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids
