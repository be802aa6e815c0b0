"""What the judge found."""

from collections import Counter
from dataclasses import dataclass, field

from klipjudge.history import Request
from klipjudge.rules import RULES
from klipjudge.vocabulary import OPERATOR


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and where."""

    rule: str
    revision: int
    message: str


@dataclass(slots=True)
class Verdict:
    """What the history shows."""

    violations: list[Violation] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    """How often each rule was put to the test; one that never was proves nothing."""
    most_live: int = 0
    """Most worker pods of one queue that were live at one revision."""
    jobs: int = 0
    """AnalysisJobs left at the end."""
    phases: dict[str, int] = field(default_factory=dict)
    """Count of these by their last phase."""
    reservations: int = 0
    """Entries that appeared in a queue's status.admitted."""

    def count(self, rule: str) -> int:
        """How often a rule was broken."""
        return sum(1 for violation in self.violations if violation.rule == rule)

    def broken(self, rule: str, request: Request | None, message: str) -> None:
        """Note a violation; None stands for the end of the history."""
        assert rule in RULES, rule
        self.violations.append(Violation(rule, request.revision if request is not None else 0, message))


@dataclass(frozen=True, slots=True)
class Terms:
    """What the judge cannot read from the history. Moments are on the clock of `Request.received`."""

    operators: tuple[str, ...] = (OPERATOR,)
    """What the user agents of operators begin with. Where several run, each process is best told apart by the rest."""
    seen_seconds: float = 1.0
    """What a user patches reaches the operator through its watch: until then either value may decide.

    Where `Request.seen` tells what its sender had been told of, that long after it was told.
    """
    watches_lag: bool = False
    """Watches are made to lag or to swallow, and nobody knows what was told: what users change before the acceptance
    may have been all that was seen."""
    clock_seconds: float = 1.5
    """The operator knows the API server's clock from Date headers of whole seconds."""
    quiet_from: float | None = None
    """From this moment on nothing changes, and the operator has nothing to write."""
    faults_ended: float | None = None
    """From this moment on nothing fails."""
    finish_within_seconds: float = 0.0
    """Each job is finished that long after `faults_ended` and after its own submission."""

    def by_operator(self, agent: str) -> bool:
        """Whether an operator sent it."""
        return agent.startswith(self.operators)
