"""A field that users patch while the operator decides."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Patched(Generic[T]):
    """Its value, and those before it: until a patch can have been seen, either may decide."""

    __slots__ = ("_earlier", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self._earlier: list[tuple[float, T]] | None = None

    def put(self, value: T, at: float) -> None:
        """The value that a write left; `at` is when the write was answered."""
        if value != self.value:
            if self._earlier is None:
                self._earlier = []
            self._earlier.append((at, self.value))
            self.value = value

    def possible(self, at: float, seen_seconds: float) -> list[T]:
        """What a decision of that moment may have been made on."""
        if self._earlier is None:
            return [self.value]
        return [self.value, *(old for until, old in self._earlier if at < until + seen_seconds)]
