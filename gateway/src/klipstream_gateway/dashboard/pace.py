"""How often a viewer is sent a live part: as often as all viewers together leave processor time for it (pure)."""

import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

LEAST_SECONDS, MOST_SECONDS = 1.0, 5.0
"""A live part is made at most once a second, and at least that often where time allows, since times go on."""
SHARE_OF_CPU = 0.25
"""What the live parts of all viewers together may take: with many of them each is sent updates more rarely."""
LONGEST_PAUSE_SECONDS = 10.0
"""With the wait for a change after it, a page hears something before it calls itself not live (20 s)."""

T = TypeVar("T")


def pause_seconds(busy_seconds: float, viewers: int) -> float:
    """Seconds until a viewer's next live part may be made, where one keeps the process busy for `busy_seconds`."""
    return min(LONGEST_PAUSE_SECONDS, max(LEAST_SECONDS, busy_seconds * viewers / SHARE_OF_CPU))


class Busy(Generic[T]):
    """Awaits work, and adds up in `seconds` what it keeps the event loop busy for.

    What it waits for is left out: an API server that does not answer is no reason to go slower.
    """

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        step, given = steps.send, None
        try:
            while True:
                began = time.thread_time()
                try:
                    waited_for = step(given)
                except StopIteration as done:
                    result: T = done.value
                    return result
                finally:
                    self.seconds += time.thread_time() - began
                try:
                    step, given = steps.send, (yield waited_for)
                except BaseException as error:
                    step, given = steps.throw, error
        finally:
            steps.close()
