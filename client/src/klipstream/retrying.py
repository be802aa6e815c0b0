"""When a request is sent again, and after how long (pure)."""

import random
from dataclasses import dataclass

from klipstream.errors import ApiError, RateLimited, Unavailable

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is sent again, and how long the gateway may ask to wait for that."""

    at_most: int = 4
    patience_seconds: float = 70.0

    def wait_seconds(self, error: ApiError, tries: int) -> float | None:
        """Seconds until the next try after `tries` of them failed; None where the error is final."""
        if tries > self.at_most or not isinstance(error, RateLimited | Unavailable):
            return None
        backoff = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
        asked = error.retry_after_seconds or 0.0
        return None if asked > self.patience_seconds else max(asked, backoff)
