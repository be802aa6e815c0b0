"""Writes of which nobody can say from the log whether the store took them: their senders were killed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from klipjudge.history import Request
from klipjudge.vocabulary import JOBS, QUEUES, AttemptKey


@dataclass(slots=True)
class Unanswered:
    """What they may have done. A successor that read it goes on from there, so its steps seem to come from nowhere."""

    reservations: dict[AttemptKey, int] = field(default_factory=dict)
    """Reservations that may have been made, and the revision before it."""
    _jobs: dict[str, list[float]] = field(default_factory=dict)
    """When statuses of AnalysisJobs may have been written, by namespace/name."""

    @classmethod
    def of(cls, requests: Iterable[Request]) -> "Unanswered":
        """Those of a history."""
        found = cls()
        for request in requests:
            if not request.asked:
                continue
            if request.resource == JOBS:
                found._jobs.setdefault(f"{request.namespace}/{request.name}", []).append(request.received)
            elif request.resource == QUEUES:
                for entry in (request.asked.get("status") or {}).get("admitted") or ():
                    found.reservations.setdefault((entry["uid"], entry["attempt"]), request.revision)
        return found

    def may_have_changed(self, name: str, since: float, request: Request) -> bool:
        """Whether an AnalysisJob may have changed between the write that came at `since` and a request."""
        return any(since <= moment <= request.completed for moment in self._jobs.get(name, ()))
