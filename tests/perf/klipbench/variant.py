"""What a run submits: classes of jobs with their run times, and when each job comes (pure)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobClass:
    """Jobs of one run time and one priority."""

    name: str
    priority: str
    seconds: float
    parts: int
    """Its share of the jobs: so many of the sum of all parts."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One job of a run."""

    name: str
    of: JobClass
    after_seconds: float
    """When it comes, from the start of the run; 0 for all jobs of a burst."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A workload."""

    name: str
    jobs: int
    slots: int
    classes: tuple[JobClass, ...]
    load: float | None = None
    """Jobs arrive at random so that this share of the slots is busy on average; None submits all at once."""

    @property
    def mean_seconds(self) -> float:
        """Mean run time of a job."""
        parts = sum(each.parts for each in self.classes)
        return sum(each.parts * each.seconds for each in self.classes) / parts

    @property
    def per_second(self) -> float | None:
        """Mean rate of arrivals; None for a burst."""
        return None if self.load is None else self.load * self.slots / self.mean_seconds

    def plan(self, seed: int) -> list[Submission]:
        """The jobs in the order of their coming; the same for the same seed."""
        chance = random.Random(seed)
        classes = exact_shares(self.classes, self.jobs)
        chance.shuffle(classes)
        at, rate, planned = 0.0, self.per_second, []
        for number, each in enumerate(classes):
            if rate is not None:
                at += chance.expovariate(rate)
            planned.append(Submission(f"{each.name}-{number:06d}", each, at))
        return planned


def exact_shares(classes: Sequence[JobClass], jobs: int) -> list[JobClass]:
    """So many jobs in the shares of their classes; what does not divide goes to the first class."""
    parts = sum(each.parts for each in classes)
    counts = [jobs * each.parts // parts for each in classes]
    counts[0] += jobs - sum(counts)
    return [each for each, count in zip(classes, counts, strict=True) for _ in range(count)]


def ideal_seconds(plan: Sequence[Submission], slots: int) -> float:
    """Makespan of slots that are never free: the run times of all jobs over the slots."""
    return sum(each.of.seconds for each in plan) / slots


MIXED = (
    JobClass("small", "HIGH", 2.0, 14),
    JobClass("medium", "NORMAL", 5.0, 4),
    JobClass("large", "LOW", 10.0, 2),
)
"""70 % short, 20 % middling, 10 % long, as Kueue's own performance test mixes them; the short ones come first."""
SHORT = (
    JobClass("high", "HIGH", 0.2, 1),
    JobClass("normal", "NORMAL", 0.2, 1),
    JobClass("low", "LOW", 0.2, 2),
)
"""So short that what is measured is the cost of a job and nothing else."""
