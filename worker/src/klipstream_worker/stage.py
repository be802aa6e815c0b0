"""A stage of the analysis: what is reported of it counts within its band of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from klipstream_worker.bands import Band, within

if TYPE_CHECKING:
    from klipstream_worker.task import AnalysisTask

T = TypeVar("T")


class Stage:
    """Made by `task.stage(name)`; use it in a `with` statement.

    `report`, `advance` and `iterate` raise Cancelled or StaleAttempt when the queue wants the analysis to end, and
    nothing else.
    """

    def __init__(self, task: AnalysisTask, name: str, band: Band) -> None:
        self.name = name
        self._task = task
        self._band = band
        self._outer: str | None = None
        self._done = 0.0

    def __enter__(self) -> Stage:
        self._outer = self._task._enter(self.name)
        self.report(0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._task._report(self.name, within(self._band, 1.0), "")
        self._task._leave(self._outer)

    def report(self, share: float, message: str = "") -> None:
        """Say how far the stage is, 0 to 1, and in a sentence what is being done; what is less than before counts not.

        It costs microseconds and never waits, so call it as often as you like.
        """
        self._task._report(self.name, within(self._band, share), message)
        self._task.check()

    def skip_to(self, share: float, message: str = "") -> None:
        """Say that the stage is that far without work, since a checkpoint had it: no rate is learned from that."""
        self._task._report(self.name, within(self._band, share), message, skipped=True)
        self._task.check()

    def iterate(
        self, items: Iterable[T], total: float | None = None, *, initial: float = 0, message: str = "{done}/{total}"
    ) -> Iterator[T]:
        """Yield the items and report after each: `for segment in stage.iterate(segments): ...`

        `total` is their number, where `len` does not tell; without one only `message` changes. `initial` items were
        done before (by the last attempt) and are not among `items`. `message` may name {done} and {total}.
        """
        if total is None and isinstance(items, Sized):
            total = len(items) + initial
        done = initial
        if initial and total:
            self.skip_to(initial / total)
        self._task.check()
        for item in items:
            yield item
            done += 1
            said = message.format(done=f"{done:g}", total="?" if total is None else f"{total:g}")
            self.report(done / total if total else 0.0, said)

    def advance(self, share: float, message: str = "") -> None:
        """Say that another share of the stage is done, for loops that count no items."""
        self._done = min(1.0, self._done + max(0.0, share))
        self.report(self._done, message)
