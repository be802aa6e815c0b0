"""A field that users patch while the operator decides."""

from typing import Generic, NamedTuple, TypeVar

from klipjudge.history import Request
from klipjudge.verdict import Terms

T = TypeVar("T")


class _Earlier(NamedTuple, Generic[T]):
    value: T
    until: float
    """When the write that changed it was answered."""
    until_revision: int


class Patched(Generic[T]):
    """Its value, and those before it: until a patch can have been seen, either may decide."""

    __slots__ = ("_earlier", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self._earlier: list[_Earlier[T]] | None = None

    def put(self, value: T, request: Request) -> None:
        """The value that a write left."""
        if value != self.value:
            if self._earlier is None:
                self._earlier = []
            self._earlier.append(_Earlier(self.value, request.completed, request.revision))
            self.value = value

    def possible(self, uid: str, request: Request, terms: Terms) -> list[T]:
        """What a request may have been decided on; `uid` is that of the object which has the field."""
        if self._earlier is None:
            return [self.value]
        late = request.decided - terms.seen_seconds
        return [self.value, *(
            earlier.value for earlier in self._earlier
            if late < earlier.until or not request.told_of(uid, earlier.until_revision)
        )]  # fmt: skip
