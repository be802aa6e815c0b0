"""When a test may count requests one by one."""

import time

WINDOW_SECONDS = 60
NEEDED_SECONDS = 20.0
"""What the requests of a test take at most, also on a slow machine."""


def early_in_a_minute() -> None:
    """Limits in memory begin anew with each minute of the clock: to be called before the first request that counts."""
    left = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    if left < NEEDED_SECONDS:
        time.sleep(left)
