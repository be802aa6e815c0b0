"""How many event streams are open at once: at this replica, and for each caller (pure)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from klipstream_gateway.addresses import counted_as
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.routes import ANONYMOUS, Principal

RETRY_AFTER = {"Retry-After": "5"}


@dataclass(slots=True)
class Places:
    """Places for streams of the API and of the dashboard. Callers without credentials count by their address."""

    at_most: int
    per_address: int
    per_key: int
    _taken: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """Streams that are open."""
        return self._taken.total()

    def take(self, principal: Principal, address: str) -> Callable[[], None]:
        """Take a place; what is returned gives it back. Raises Refused where the caller, or the replica, has none."""
        anonymous = principal is ANONYMOUS
        caller, limit = counted_as(principal, address), self.per_address if anonymous else self.per_key
        if self._taken[caller] >= limit:
            whose = f"from {caller}" if anonymous else f"for {caller}"
            raise Refused(
                Problem.RATE_LIMITED, f"{limit} streams are open {whose}, and more are not. Close some.", RETRY_AFTER
            )
        if self.taken >= self.at_most:
            raise Refused(Problem.UNAVAILABLE, "Too many streams are open at this replica.", RETRY_AFTER)
        self._taken[caller] += 1
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if given_back:
                return
            given_back = True
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]

        return give_back
